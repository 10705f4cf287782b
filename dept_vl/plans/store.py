"""The single values behind a page, as one CSV beside it: what a verdict needs, without the run folders.

    plan,cell,task,measure,target,seed,draw,value,run

So that a reader can judge the claims again, and a change of the statistics needs no new run. For costs `seed` is the
round. Scores are points, times seconds or milliseconds, as `table.MEASURES` has them. run: the folder, whose name ends
in a hash of all settings; a value whose cell has other settings by now is left out. Values of the page that had no such
file name none.
"""

import csv
import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dept_vl.plans.schema import Claim, PlanFile
from dept_vl.plans.settings import BadPlan
from dept_vl.plans.table import COST_MEASURES, Table, single

NAME = "values.csv"
COLUMNS = ("plan", "cell", "task", "measure", "target", "seed", "draw", "value", "run")
_ALWAYS = ("score", "train_seconds", "weights", "steps", "test_rows")


def as_csv(tables: Iterable[Table], kept: Sequence[Mapping[str, str]] = ()) -> str:
    """Scores, sizes and steps of every cell, and what the claims measure. kept: the file's rows so far, which stay for
    a table that was made of them."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for table in tables:
        if table.stored is not None:
            writer.writerows([row[name] for name in COLUMNS] for row in kept if row["plan"] == table.plan.name)
            continue
        runs = _runs(table)
        for cell, task, measure, target in _wanted(table.plan):
            for (seed, draw), value in single(table, measure, cell, task, target or None).items():
                place = [table.plan.name, cell, task, measure, target, seed, draw]
                writer.writerow([*place, repr(float(value)), runs.get((cell, task, seed, draw), "")])
    return file.getvalue()


def _runs(table: Table) -> dict[tuple[str, str, int, int], str]:
    return {(each.cell, each.task, each.seed, each.draw): each.run for each in table.wanted}


def _wanted(plan: PlanFile) -> list[tuple[str, str, str, str]]:
    found = [(cell.name, task, measure, "") for cell in plan.cells for task in cell.tasks for measure in _ALWAYS]
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
    """The table with these rows in place of its runs, none of which are here; as it is where no row is its own."""
    runs, found = _runs(table), {}
    for row in rows:
        repeat = int(row["seed"]), int(row["draw"])
        if row["plan"] == table.plan.name and row["run"] in ("", runs.get((row["cell"], row["task"], *repeat))):
            key = row["measure"], row["target"], row["cell"], row["task"]
            found.setdefault(key, {})[repeat] = float(row["value"])
    return dataclasses.replace(table, stored=found) if found and not table.outcomes else table


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
