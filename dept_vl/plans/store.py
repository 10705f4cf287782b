"""The single values behind a page, as one CSV beside it: what a verdict needs, without the run folders.

    plan,cell,task,measure,target,seed,draw,value,run

So that a reader can judge the claims again, and a change of the statistics needs no new run. For costs `seed` is the
round; `item_error` and `items` are of all seeds together, so theirs is 0, and those of a claim stand under its first
cell with its name as target. Scores are points, times seconds or milliseconds, as `table.MEASURES` has them. run: the
folder, whose name ends in a hash of all settings, the cell's first where several count; a value whose cell has other
settings by now is left out. Values of the page that had no such file name none.

A table may be of such values, of runs that are here, or of both: a plan is done piece by piece, on several machines.
What a run here says goes over what was kept of it.
"""

import csv
import dataclasses
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dept_vl.plans.claims import counts_items
from dept_vl.plans.item_error import ITEM_ERROR, ITEMS, item_error
from dept_vl.plans.runs import Schedule
from dept_vl.plans.schema import COMPARISON, TRIALS, Claim, Number, PlanFile
from dept_vl.plans.settings import BadPlan
from dept_vl.plans.table import COST_MEASURES, FORGETTING, Repeat, Stored, Table, single

NAME = "values.csv"
Row = Mapping[str, str]  # by COLUMNS
COLUMNS = ("plan", "cell", "task", "measure", "target", "seed", "draw", "value", "run")
_ALWAYS = ("score", "train_seconds", "weights", "steps", "test_rows")
_OF_VIEW = {TRIALS: ("val",), COMPARISON: (*_ALWAYS, "file_bytes", "held_mb", FORGETTING, *COST_MEASURES)}


def as_csv(tables: Iterable[Table], kept: Sequence[Row] = ()) -> str:
    """Scores, sizes and steps of every cell, and what the claims or the view of the plan measure. kept: the file's rows
    so far, which stay for a table that is made of them too and for plans that are not among the tables."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    tables = list(tables)
    named = {table.plan.name for table in tables}
    writer.writerows(row.values() for row in kept if row["plan"] not in named)
    for table in tables:
        before = [row for row in kept if row["plan"] == table.plan.name] if table.stored is not None else []
        writer.writerows(row.values() for row in _over(before, _rows(table)))
    return file.getvalue()


def _rows(table: Table) -> list[Row]:
    """Of the runs and costs that are here."""
    here, runs, found = dataclasses.replace(table, stored=None), _runs(table), []

    def add(cell: str, task: str, measure: str, target: str, repeat: Repeat, value: Number) -> None:
        place = (table.plan.name, cell, task, measure, target, *map(str, repeat))
        row = (*place, repr(value), _run(runs, cell, task, measure, *repeat))
        found.append(dict(zip(COLUMNS, row, strict=True)))

    for cell, task, measure, target in _wanted(table.plan):
        for repeat, value in single(here, measure, cell, task, target or None).items():
            add(cell, task, measure, target, repeat, float(value))
    for (cell, task, target), facts in _item_errors(here):
        for measure, value in zip((ITEM_ERROR, ITEMS), facts, strict=True):
            add(cell, task, measure, target, (0, 0), value)
    return found


def _over(before: Iterable[Row], rows: Sequence[Row]) -> list[Row]:
    """`before` with `rows` in the places of the same run, or behind: but an error over items that was kept stays, since
    it is of more seeds, and the rounds of a timing belong together."""
    timed = {_timing(row) for row in rows} - {None}
    places = {_place(row): row for row in before if _timing(row) not in timed}
    for row in rows:
        if row["measure"] not in (ITEM_ERROR, ITEMS) or _place(row) not in places:
            places[_place(row)] = row
    return list(places.values())


def _place(row: Row) -> tuple[str, ...]:
    return tuple(row[name] for name in COLUMNS[:-2])


def _timing(row: Row) -> tuple[str, str] | None:
    return (row["cell"], row["measure"]) if row["measure"] in COST_MEASURES else None


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


def with_stored(table: Table, rows: Iterable[Row]) -> Table:
    """The table of these rows and its runs; of its runs alone where they are all that the rows tell of."""
    runs = _runs(table)
    known = [row for row in rows if row["plan"] == table.plan.name and row["run"] in ("", _named(runs, row))]
    if not known:
        return table
    if table.outcomes and set(dataclasses.replace(table, stored=_stored(known)).done) <= set(table.done):
        return table
    return dataclasses.replace(table, stored=_stored(_over(known, _rows(table))))


def _named(runs: Mapping[Any, str], row: Row) -> str:
    return _run(runs, row["cell"], row["task"], row["measure"], int(row["seed"]), int(row["draw"]))


def _stored(rows: Iterable[Row]) -> Stored:
    found: dict[tuple[str, str, str, str], dict[Repeat, float]] = {}
    for row in rows:
        key = row["measure"], row["target"], row["cell"], row["task"]
        found.setdefault(key, {})[int(row["seed"]), int(row["draw"])] = float(row["value"])
    return found


def known_runs(plans: Iterable[PlanFile], schedule: Schedule, rows: Sequence[Row]) -> set[str]:
    """The runs that need not be done, since the rows have their values; none that a run to be done starts from."""
    known: dict[str, bool] = {}
    for plan in plans:
        table = with_stored(Table(plan, (), schedule.places[plan.name]), rows)
        done = set(table.done) if table.stored is not None else set()
        for place in table.wanted:
            known[place.run] = known.get(place.run, True) and place in done
    needed = [name for name, there in known.items() if not there]
    while needed:
        for name in schedule.runs[needed.pop()].waits_for:
            if known.get(name):
                known[name] = False
                needed.append(name)
    return {name for name, there in known.items() if there}


def known_costs(plan: PlanFile, schedule: Schedule, rows: Sequence[Row]) -> bool:
    """Whether the rows have the time and memory of all cells that are to be measured."""
    stored = with_stored(Table(plan, (), schedule.places[plan.name]), rows).stored or {}
    return all(("cost_train_ms", "", cell, "") in stored for cell in plan.costed())


def given_values(path: Path | None) -> list[Row]:
    """The rows of the file that --values names. Raises: BadPlan."""
    if path is not None and not path.is_file():
        raise BadPlan(f"--values: wanted the {NAME} of a page, given {path}, where there is none")
    return [] if path is None else read_values(path)


def read_values(path: Path) -> list[Row]:
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
