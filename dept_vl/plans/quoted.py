"""The rows of a paper's table as printed, and a plan's cells made of one of them and of a recipe that rows share.

configs/paper/<paper>/published.yaml holds the printed numbers, in percent. A plan that says `quotes: BitFit` takes its
cells and means from that row. A recipe is a file {experiment: settings of all cells, cells: {cola: settings of that
task, k=4: of that k, cola k=4: of both}}.
"""

import dataclasses
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dept_vl.plans.schema import Cell, Mean, Number, PlanFile, Recipe, with_k
from dept_vl.plans.settings import BadPlan, Settings, build, find_file, merge_all, read
from dept_vl.registry import did_you_mean
from dept_vl.tasks import TASKS, TextTask

SINGLE = "single-task"


@dataclass(frozen=True)
class Quoted:
    """A row as printed. values and sds (standard deviations): one per column of its block, None for a dash; sds are ()
    where none is printed. training: on one task or on several, and from which start. here: why no plan quotes it."""

    method: str
    values: tuple[Number | None, ...]
    parameters: str = ""
    training: str = SINGLE
    sds: tuple[Number | None, ...] = ()
    here: str = "not run here"


@dataclass(frozen=True)
class Block:
    """Rows of a table under one heading. A column that is no task is a mean over those before it."""

    table: int
    title: str
    columns: tuple[str, ...]
    rows: tuple[Quoted, ...]
    k: int | None = None
    variant: str | None = None


def load_blocks(folder: Path, paper: str) -> list[Block]:
    """The quoted rows of a paper, none without a published.yaml. Raises: BadPlan."""
    path = folder / paper / "published.yaml"
    return list(_blocks(path, path.read_bytes())) if path.exists() else []


@functools.lru_cache(maxsize=8)
def _blocks(path: Path, content: bytes) -> tuple[Block, ...]:
    """content: what the file holds, since each row of a paper reads it anew."""
    blocks = read(path).get("blocks")
    if not isinstance(blocks, list):
        raise BadPlan(f"{path}: blocks: wanted a list, given {blocks!r}")
    built = [build(Block, each, f"{path}: block {number}: ") for number, each in enumerate(blocks, start=1)]
    for block in built:
        for row in block.rows:
            for name, given in (("values", row.values), ("sds", row.sds or row.values)):
                if len(given) != len(block.columns):
                    wanted = f"{len(block.columns)} {name}, one per column"
                    raise BadPlan(f"{path}: {block.title}: {row.method}: wanted {wanted}, given {len(given)}")
    return tuple(built)


def fill(plan: PlanFile) -> PlanFile:
    """The plan with the cells and means of the row that it quotes, and its recipes' settings below its own: a later
    recipe over an earlier one, a cell's over those of all. Raises: BadPlan."""
    plan = plan if plan.quotes is None else _quote(plan)
    recipes = [_load_recipe(find_file(plan.path.parent, name)) for name in plan.recipe]
    experiment = merge_all([*(each.experiment for each in recipes), plan.experiment])
    cells = [
        dataclasses.replace(cell, settings=merge_all([*_of_recipes(recipes, cell), cell.settings]))
        for cell in plan.cells
    ]
    return dataclasses.replace(plan, experiment=experiment, cells=tuple(cells))


def _load_recipe(path: Path) -> Recipe:
    recipe = build(Recipe, read(path), f"{path}: ")
    for key in recipe.cells:
        task, _, k = key.rpartition("k=")
        name = task.strip() if k.isdigit() else key
        if name and name not in TASKS:
            wanted = "wanted a task, k=NUMBER, or both"
            raise BadPlan(f"{path}: cells: {wanted}, given {key!r}.{did_you_mean(name, TASKS)}")
    return recipe


def _of_recipes(recipes: Iterable[Recipe], cell: Cell) -> Iterator[Settings]:
    keys = [each for each in (cell.k and f"k={cell.k}", cell.task, cell.task and with_k(cell.task, cell.k)) if each]
    for recipe in recipes:
        yield from (recipe.cells[key] for key in dict.fromkeys(keys) if key in recipe.cells)


def _quote(plan: PlanFile) -> PlanFile:
    where = f"{plan.path}: quotes: "
    if plan.cells != PlanFile.cells or plan.means:
        raise BadPlan(f"{where}wanted it without cells and means, which it takes from the printed row, given both")
    blocks = [
        each
        for each in load_blocks(plan.path.parents[1], plan.path.parent.name)
        if (each.table, each.variant) == (plan.table, plan.variant)
    ]
    found = [(block, row) for block in blocks for row in block.rows if row.method == plan.quotes]
    if not found:
        names = dict.fromkeys(row.method for block in blocks for row in block.rows)
        given = f"given {plan.quotes!r}.{did_you_mean(str(plan.quotes), names)}"
        raise BadPlan(f"{where}wanted a row of table {plan.table} in published.yaml: {', '.join(names)}, {given}")
    cells, means = [], []
    for block, row in found:
        since: list[str] = []
        for column, value, sd in zip(block.columns, row.values, row.sds or (None,) * len(row.values), strict=True):
            if column in TASKS:
                since.append(column)
                if value is not None and column in (plan.tasks or block.columns):
                    cells.append(_cell(plan, block, column, value, sd))
                continue
            there = {cell.task for cell in cells if cell.k == block.k}
            if value is not None and there.issuperset(since):
                means.append(Mean(column, tuple(since), value, block.k))
            since = []
    training = plan.training or found[0][1].training
    return dataclasses.replace(plan, cells=tuple(cells), means=tuple(means), training=training)


def _cell(plan: PlanFile, block: Block, name: str, value: Number, sd: Number | None) -> Cell:
    task, items = TASKS[name], None
    if isinstance(task, TextTask):
        task = task.under(plan.protocol) if plan.protocol else task
        items = task.splits.sizes[2] if task.splits.sizes else None
    return Cell(task=name, k=block.k, published={task.headline: value}, sd=sd, items=items)
