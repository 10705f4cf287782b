"""A row of a paper's table: ours beside the published number, in points and in items of the test split.

An accuracy of CB is a count of 28 items, so one item is 3.6 points; correlations and F1 over classes count no items.
Rows that are only quoted stand in configs/paper/<paper>/published.yaml. Published numbers are percent, as printed.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dept_vl.plans.load import UNCHANGED, Changes, load_plan
from dept_vl.plans.quoted import SINGLE, Block, Quoted
from dept_vl.plans.runs import make_run
from dept_vl.plans.schema import Cell, Number, PlanFile, with_k
from dept_vl.plans.settings import BadPlan, flat
from dept_vl.registry import did_you_mean
from dept_vl.run import check
from dept_vl.tasks import TASKS, TextTask

_OF_ITEMS = ("accuracy", "exact_match")


class MissingScore(ValueError):
    """A run whose results lack the metric that the table prints."""


@dataclass(frozen=True)
class Beside:
    """One metric of a cell, in percent. paper: as logged where the log is there, as printed otherwise, None for none.

    ours: the mean over `runs` runs, spread their standard deviation. items: of the test split, None where the metric is
    not a mean over items.
    """

    label: str
    metric: str
    paper: Number | None
    ours: float
    spread: float | None = None
    runs: int = 1
    items: int | None = None

    @property
    def points(self) -> float | None:
        return None if self.paper is None else self.ours - self.paper

    @property
    def items_apart(self) -> float | None:
        """How many items more than the paper's were right."""
        return None if self.points is None or self.items is None else round(self.points / 100 * self.items, 1) + 0.0

    def line(self) -> str:
        paper = "-" if self.paper is None else self.paper
        line = f"{self.label:<24} {self.metric:<20} paper {paper:>6}  ours {self.ours:6.2f}"
        line += f" (sd {self.spread:.2f}, {self.runs} runs)" if self.spread is not None else ""
        line += f"  {self.points:+.2f} points" if self.points is not None else ""
        return line + (f" = {self.items_apart:+.1f} of {self.items:,} items" if self.items_apart is not None else "")


def load_rows(folder: Path, paper: str, changes: Changes = UNCHANGED, *, table: int | None = None) -> list[PlanFile]:
    """Every row of configs/paper/<paper>, or those of a table; `folder` is configs/paper. Raises: BadPlan."""
    names = "table*.yaml" if table is None else f"table{table}_*.yaml"
    return [load_plan(path, changes) for path in sorted((folder / paper).glob(names))]


def select_rows(
    rows: Iterable[PlanFile],
    *,
    table: int | None = None,
    method: str | None = None,
    task: str | None = None,
    k: int | None = None,
) -> list[PlanFile]:
    """The rows of a table and a method (dpt, or dpt_t5_base for one variant), each with the cells of a task and a k."""
    rows = [row for row in rows if table in (None, row.table) and method in (None, row.method, row.row)]
    return [kept for row in rows if (kept := row.only(task, k)).cells]


def check_rows(rows: Iterable[PlanFile]) -> list[str]:
    """A line for each row. Raises: BadPlan with all that is wrong, after all rows were checked."""
    lines, wrong = [], []
    for row in rows:
        try:
            lines.append(check_row(row))
        except BadPlan as error:
            wrong.append(str(error))
    if wrong:
        raise BadPlan("\n".join(wrong))
    return lines


def check_row(row: PlanFile) -> str:
    """Hold every cell against the task registry and the adapters' sizes; a line that tells what the row comes to.

    Raises: BadPlan naming the file and the cell.
    """
    runs: dict[str, int] = {}  # a mixture's tasks share theirs
    for cell in row.cells:
        where = f"{row.path}: cell {cell.name}: "
        run = make_run(row, cell, cell.tasks[0], cell.seeds[0], cell.draws[0], None, Path("runs/paper"))
        config, runs[run.name] = run.config, len(cell.seeds) * len(cell.draws)
        try:
            check(config, later=row.given)
        except ValueError as error:
            raise BadPlan(f"{where}{error}") from error
        task = TASKS[cell.tasks[0]]
        task = task.under(config.task.protocol) if isinstance(task, TextTask) else task
        known = dict.fromkeys((task.headline, *task.selecting))
        for metric in {**(cell.published or {}), **cell.logged}:
            if metric not in known:
                wanted = f"wanted a metric of {', '.join(known)}"
                raise BadPlan(f"{where}{wanted}, given {metric!r}.{did_you_mean(metric, known)}")
        if isinstance(task, TextTask) and task.splits.sizes is not None and cell.items != task.splits.sizes[2]:
            wanted = f"wanted the {task.splits.sizes[2]:,} of the test split under {config.task.protocol}"
            raise BadPlan(f"{where}items: {wanted}, given {cell.items}")
    protocol = row.protocol or "each task's own protocol"
    need = f", to be given: {', '.join(f'--{name}' for name in row.given)}" if row.given else ""
    sizes = f"{len(row.cells)} cells, {sum(runs.values())} runs"
    return f"{row.paper} table {row.table} {row.row}: {sizes}, {protocol}{need}: good"


def check_given(row: PlanFile) -> None:
    """Raises: BadPlan where a setting is missing that only the command can bring."""
    for name in row.given:
        if any(flat(cell.settings).get(name) is None for cell in row.cells):
            raise BadPlan(f"{row.path}: wanted --{name}, which the file's head explains, given none")


def beside(cell: Cell, results: Sequence[Mapping[str, Any]]) -> list[Beside]:
    """One comparison for each published metric of a cell, or of the task's headline where the table prints only a mean;
    `results` holds results.json of each run. Raises: MissingScore."""
    found = []
    for metric in tuple(cell.published or ()) or (TASKS[cell.tasks[0]].headline,):
        scores = [_score(cell, metric, each) for each in results]
        per_item = metric in _OF_ITEMS or not TASKS[cell.tasks[0]].candidates
        found.append(
            Beside(
                label=cell.name,
                metric=metric,
                paper=cell.logged.get(metric, (cell.published or {}).get(metric)),
                ours=statistics.mean(scores),
                spread=statistics.stdev(scores) if len(scores) > 1 else None,
                runs=len(scores),
                items=cell.items if per_item else None,
            )
        )
    return found


def _score(cell: Cell, metric: str, results: Mapping[str, Any]) -> float:
    scores = results["metrics"]["test"]
    if metric not in scores:
        numbers = ", ".join(name for name, value in scores.items() if isinstance(value, float))
        raise MissingScore(f"{cell.name}: wanted {metric} in results.json, given {numbers}")
    return 100 * float(scores[metric])


def means(row: PlanFile, ours: Mapping[str, float]) -> list[Beside]:
    """The means that the table prints, where all of their cells have a score; `ours` maps a cell's name to it."""
    found = []
    for mean in row.means:
        labels = [with_k(task, mean.k) for task in mean.tasks]
        if all(label in ours for label in labels):
            found.append(Beside(mean.label, "mean", mean.published, statistics.mean(ours[each] for each in labels)))
    return found


def whole_table(block: Block, rows: Sequence[PlanFile], ours: Mapping[str, Mapping[str, float]]) -> str:
    """The whole published table in Markdown, our rows behind it twice: as printed and as we got them.

    `ours` maps a row's name to the scores of its cells and means by label.
    """
    rows = [row for row in rows if row.table == block.table and row.variant == block.variant]
    printed = {row.quotes for row in rows}
    digits = max(len(str(value).partition(".")[2]) for each in block.rows for value in each.values if value is not None)
    heads = [name.removeprefix("superglue-") for name in block.columns]
    lines = [block.title, "", f"| method | training | {' | '.join(heads)} | |", "|---" * (len(heads) + 3) + "|"]
    for quoted in (each for each in block.rows if each.method not in printed):
        values = " | ".join(_number(value, digits) for value in quoted.values)
        lines.append(f"| {_named(quoted.method, quoted)} | {quoted.training} | {values} | {quoted.here} |")
    for row in rows:
        keys = [with_k(name, block.k) for name in block.columns]
        quoted = next((each for each in block.rows if each.method == row.quotes), None)
        got, there = ours.get(row.row, {}), _published(row)
        paper = " | ".join(_number(there.get(key), digits) for key in keys)
        here = " | ".join(_number(got.get(key), 2) for key in keys)
        training = row.training or SINGLE
        state = "ours" if any(key in got for key in keys) else "ours: not run yet"
        lines.append(
            f"| {_named(row.method, quoted)} | {quoted.training if quoted else training} | {paper} | the paper |"
        )
        lines.append(f"| {row.method} | {training} | {here} | {state} |")
    return "\n".join(lines)


def _named(method: str, quoted: Quoted | None) -> str:
    return f"{method} ({quoted.parameters})" if quoted and quoted.parameters else method


def _published(row: PlanFile) -> dict[str, Number | None]:
    """Label to the printed number, means included."""
    cells = {cell.name: next(iter((cell.published or {"": None}).values())) for cell in row.cells}
    return cells | {mean.label: mean.published for mean in row.means}


def why_absent(method: str | None, rows: Iterable[PlanFile], blocks: Iterable[Block]) -> str:
    """What the quoted rows say of a method of a table that is not among our `rows`."""
    rows = list(rows)
    quoted = [each for block in blocks for each in block.rows if method in (None, each.method)]
    methods = sorted({row.method for row in rows})
    hint = did_you_mean(method or "", methods)
    nothing = f"{method or 'this table'}: wanted a row of {', '.join(methods) or 'this paper'} with such a cell.{hint}"
    runs = {each.method: [f"--method {row.method}" for row in rows if row.quotes == each.method] for each in quoted}
    lines = (f"{each.method}: {' and '.join(runs[each.method]) or each.here}" for each in quoted)
    return "; ".join(dict.fromkeys(lines)) or nothing


def _number(value: Number | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
