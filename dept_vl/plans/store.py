"""The single values behind a page, as one CSV beside it: what a verdict needs, without the run folders.

    plan,cell,task,measure,target,seed,draw,value,run

So that a reader can judge the claims again, and a change of the statistics needs no new run. For costs `seed` is the
round; `item_error` and `items` are of all seeds together, so theirs is 0, and those of a claim stand under its first
cell with its name as target. Scores are points, times seconds or milliseconds, as `table.MEASURES` has them. run: the
folder, whose name ends in a hash of all settings, the cell's first where several count; a value whose cell has other
settings by now is left out. Values of the page that had no such file name none.
"""

import csv
import dataclasses
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dept_vl.plans.claims import counts_items
from dept_vl.plans.item_error import ITEM_ERROR, ITEMS, item_error
from dept_vl.plans.schema import COMPARISON, TRIALS, Claim, PlanFile
from dept_vl.plans.settings import BadPlan
from dept_vl.plans.table import COST_MEASURES, FORGETTING, Table, single

NAME = "values.csv"
COLUMNS = ("plan", "cell", "task", "measure", "target", "seed", "draw", "value", "run")
_ALWAYS = ("score", "train_seconds", "weights", "steps", "test_rows")
_OF_VIEW = {TRIALS: ("val",), COMPARISON: (*_ALWAYS, "file_bytes", "held_mb", FORGETTING, *COST_MEASURES)}


def as_csv(tables: Iterable[Table], kept: Sequence[Mapping[str, str]] = ()) -> str:
    """Scores, sizes and steps of every cell, and what the claims or the view of the plan measure. kept: the file's rows
    so far, which stay for a table that was made of them and for plans that are not among the tables."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    tables = list(tables)
    named = {table.plan.name for table in tables}
    writer.writerows([row[name] for name in COLUMNS] for row in kept if row["plan"] not in named)
    for table in tables:
        if table.stored is not None:
            writer.writerows([row[name] for name in COLUMNS] for row in kept if row["plan"] == table.plan.name)
            continue
        runs = _runs(table)
        for cell, task, measure, target in _wanted(table.plan):
            for (seed, draw), value in single(table, measure, cell, task, target or None).items():
                place = [table.plan.name, cell, task, measure, target, seed, draw]
                writer.writerow([*place, repr(float(value)), _run(runs, cell, task, measure, seed, draw)])
        for (cell, task, target), found in _item_errors(table):
            for measure, value in zip((ITEM_ERROR, ITEMS), found, strict=True):
                place = [table.plan.name, cell, task, measure, target, 0, 0]
                writer.writerow([*place, repr(value), _run(runs, cell, task, measure, 0, 0)])
    return file.getvalue()


def _item_errors(table: Table) -> Iterator[tuple[tuple[str, str, str], tuple[float, int]]]:
    """By cell and task for a page of methods; by the claim's name, under its first cell, for a verdict."""
    cells = table.plan.cells if table.plan.view == COMPARISON else ()
    wanted = {(cell.name, task, ""): ([cell.name], (), [task]) for cell in cells for task in cell.tasks}
    for claim in filter(counts_items, table.plan.claims):
        wanted[claim.first[0], "", claim.name] = (claim.first, claim.second, claim.tasks)
    for place, (first, second, tasks) in wanted.items():
        if (found := item_error(table, first, second, tasks=tasks)) is not None:
            yield place, found


def _runs(table: Table) -> dict[tuple[str, str, int, int] | tuple[str, str], str]:
    """By cell, task, seed and draw; the first by cell and task, and by cell and "" for its costs."""
    found = {}
    for each in table.wanted:
        found[each.cell, each.task, each.seed, each.draw] = each.run
        found.setdefault((each.cell, each.task), each.run)
        found.setdefault((each.cell, ""), each.run)
    return found


def _run(runs: Mapping[Any, str], cell: str, task: str, measure: str, seed: int, draw: int) -> str:
    together = measure in (*COST_MEASURES, ITEM_ERROR, ITEMS)
    return runs.get((cell, task) if together else (cell, task, seed, draw), "")


def _wanted(plan: PlanFile) -> list[tuple[str, str, str, str]]:
    found = [
        (cell.name, "" if measure in COST_MEASURES else task, measure, "")
        for cell in plan.cells
        for task in cell.tasks
        for measure in _OF_VIEW.get(plan.view, _ALWAYS)
    ]
    for claim in plan.claims:
        found += _of_claim(plan, claim)
    return list(dict.fromkeys(found))


def _of_claim(plan: PlanFile, claim: Claim) -> list[tuple[str, str, str, str]]:
    sides = ((claim.first, claim.measure), (claim.second, claim.second_measure or claim.measure))
    return [
        (name, task, measure, claim.target or "")
        for cells, measure in sides
        for name in cells
        for task in (("",) if measure in COST_MEASURES else plan.cell(name).tasks)
        if task == "" or not claim.tasks or task in claim.tasks
    ]


def with_stored(table: Table, rows: Iterable[Mapping[str, str]]) -> Table:
    """The table with these rows in place of its runs, fewer of which are here; else as it is."""
    runs, found = _runs(table), {}
    for row in rows:
        repeat = int(row["seed"]), int(row["draw"])
        place = row["cell"], row["task"], row["measure"]
        if row["plan"] == table.plan.name and row["run"] in ("", _run(runs, *place, *repeat)):
            key = row["measure"], row["target"], row["cell"], row["task"]
            found.setdefault(key, {})[repeat] = float(row["value"])
    stored = dataclasses.replace(table, stored=found)
    return stored if found and (not table.outcomes or stored.finished > table.finished) else table


def read_values(path: Path) -> list[dict[str, str]]:
    """The rows; none where there is no such file. Raises: BadPlan naming the line."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise BadPlan(f"{path}: wanted the columns {','.join(COLUMNS)}, given {','.join(reader.fieldnames or ())}")
        rows = list(reader)
    for number, row in enumerate(rows, start=2):
        try:
            int(row["seed"]), int(row["draw"]), float(row["value"])
        except (TypeError, ValueError) as error:
            raise BadPlan(f"{path}, line {number}: wanted seed, draw and value, given {row}") from error
    return rows
