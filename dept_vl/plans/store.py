"""The single values behind a page, as one CSV beside it: what a verdict needs, without the run folders.

    plan,cell,task,measure,target,seed,draw,value,run

So that a reader can judge the claims again, and a change of the statistics needs no new run. For costs `seed` is the
round; `item_error` and `items` are of several seeds together, whose number is their draw, and those of a claim stand
under its first cell with its name as target; the target of forgetting is its text. Scores are points, times seconds or
milliseconds, as `table.MEASURES` has them. run: the folder, whose name ends in a hash of all settings, the cell's first
where several count; a value whose cell has other settings by now is left out. Values of the page that had no such file
name none: they are shown, and joined with none.

A table may be of such values, of runs that are here, or of both: a plan is done piece by piece, on several machines.
What a run here says goes over what was kept of it.
"""

import csv
import dataclasses
import io
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dept_vl.plans.claims import counts_items
from dept_vl.plans.item_error import ITEM_ERROR, ITEMS, common_repeats, item_error
from dept_vl.plans.runs import Schedule
from dept_vl.plans.schema import COMPARISON, TRIALS, Claim, Number, PlanFile
from dept_vl.plans.settings import BadPlan
from dept_vl.plans.table import COST_MEASURES, FORGETTING, MEASURES, Repeat, Stored, Table, single

NAME = "values.csv"
Row = Mapping[str, str]  # by COLUMNS
COLUMNS = ("plan", "cell", "task", "measure", "target", "seed", "draw", "value", "run")
_ALWAYS = ("score", "train_seconds", "weights", "steps", "test_rows")
_OF_VIEW = {TRIALS: ("val",), COMPARISON: (*_ALWAYS, "file_bytes", "held_mb", FORGETTING, *COST_MEASURES)}


def as_csv(tables: Iterable[Table], kept: Sequence[Row] = ()) -> str:
    """Scores, sizes and steps of every cell, and what the claims or the view of the plan measure. kept: the file's rows
    so far: of them those stay that a table is made of too, those of other settings until their place is taken, and
    those of plans that are not among the tables."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    tables = list(tables)
    names = {table.plan.name for table in tables}
    writer.writerows(row.values() for row in kept if row["plan"] not in names)
    for table in tables:
        mine, unnamed = _joined(table, kept, _rows(table))
        runs, taken = _runs(table), {_place(row) for row in mine}
        before = [row for row in kept if row["plan"] == table.plan.name and _place(row) not in taken]
        stale = [row for row in before if row["run"] not in ("", _named(table, runs, row))]
        writer.writerows(row.values() for row in [*mine, *stale, *unnamed])
    return file.getvalue()


def with_stored(table: Table, rows: Sequence[Row]) -> Table:
    """The table of these rows and of its runs, which go over them; of its runs alone where no row tells more. Rows
    that name no run are joined with none: they stand where there are more of them."""
    if all(row["plan"] != table.plan.name for row in rows):
        return table
    here = _rows(table)
    mine, unnamed = _joined(table, rows, here)
    if unnamed:
        return dataclasses.replace(table, stored=_stored(unnamed))
    return table if len(mine) == len(here) else dataclasses.replace(table, stored=_stored(mine))


def _joined(table: Table, rows: Sequence[Row], here: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The rows of the table's settings, and those of its runs that are here over them; and the rows that name no run,
    where they are more of the plan."""
    runs = _runs(table)
    known = [row for row in rows if row["plan"] == table.plan.name]
    mine = _over([row for row in known if row["run"] and row["run"] == _named(table, runs, row)], here)
    unnamed = [row for row in known if not row["run"]]
    older, newer = (dataclasses.replace(table, stored=_stored(each)).finished for each in (unnamed, mine))
    return mine, unnamed if older > newer or not mine else []


def _over(before: Iterable[Row], rows: Sequence[Row]) -> list[Row]:
    """`before` with `rows` in the places of the same run, or behind. A cell's times belong together."""
    timed = {row["cell"] for row in rows if row["measure"] in COST_MEASURES}
    places = {
        _place(row): row for row in before if row["measure"] not in COST_MEASURES or row["cell"] not in timed
    }  # fmt: skip
    return list((places | {_place(row): row for row in rows}).values())


def _place(row: Row) -> tuple[str, ...]:
    return tuple(row[name] for name in COLUMNS[:-2])


def _stored(rows: Iterable[Row]) -> Stored:
    found: dict[tuple[str, str, str, str], dict[Repeat, float]] = {}
    for row in rows:
        key = row["measure"], row["target"], row["cell"], row["task"]
        found.setdefault(key, {})[int(row["seed"]), int(row["draw"])] = float(row["value"])
    return found


def _rows(table: Table) -> list[Row]:
    """Of the runs and costs that are here."""
    here, runs, found = dataclasses.replace(table, stored=None), _runs(table), []

    def add(cell: str, task: str, measure: str, target: str, repeat: Repeat, value: Number) -> None:
        target = table.plan.forgetting if measure == FORGETTING else target
        facts = table.plan.name, cell, task, measure, target, *map(str, repeat), repr(value)
        row = dict(zip(COLUMNS[:-1], facts, strict=True))
        found.append(row | {"run": _named(table, runs, row)})

    for cell, task, measure, target in _wanted(table.plan):
        for repeat, value in single(here, measure, cell, task, target or None).items():
            add(cell, task, measure, target, repeat, float(value))
    for (cell, task, target), repeats, both in _item_errors(here):
        for measure, value in zip((ITEM_ERROR, ITEMS), both, strict=True):
            add(cell, task, measure, target, (0, repeats), value)
    return found


def _item_errors(table: Table) -> Iterator[tuple[tuple[str, str, str], int, tuple[float, int]]]:
    """By cell and task for a page of methods; by the claim's name, under its first cell, for a verdict. With the number
    of repeats that it is of."""
    cells = table.plan.cells if table.plan.view == COMPARISON else ()
    wanted = {(cell.name, task, ""): ([cell.name], (), [task]) for cell in cells for task in cell.tasks}
    for claim in filter(counts_items, table.plan.claims):
        wanted[claim.first[0], "", claim.name] = (claim.first, claim.second, claim.tasks)
    for place, (first, second, tasks) in wanted.items():
        if (found := item_error(table, first, second, tasks=tasks)) is not None:
            yield place, len(common_repeats(table, first, second, tasks)), found


def _runs(table: Table) -> dict[tuple[str, str, int, int] | tuple[str, str], str]:
    """By cell, task, seed and draw; the first by cell and task, and by cell and "" for its costs."""
    found = {}
    for each in table.wanted:
        found[each.cell, each.task, each.seed, each.draw] = each.run
        found.setdefault((each.cell, each.task), each.run)
        found.setdefault((each.cell, ""), each.run)
    return found


def _named(table: Table, runs: Mapping[Any, str], row: Row) -> str:
    """The run that a row is of by the plan's settings of now; "" for none."""
    cell, task, measure = row["cell"], row["task"], row["measure"]
    if measure in (ITEM_ERROR, ITEMS) and row["target"]:
        claims = (each for each in table.plan.claims if each.name == row["target"])
        return "+".join(runs.get((name, ""), "") for claim in claims for name in (*claim.first, *claim.second))
    together = measure in (*COST_MEASURES, ITEM_ERROR, ITEMS)
    return runs.get((cell, task) if together else (cell, task, int(row["seed"]), int(row["draw"])), "")


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


def merged(rows: Iterable[Row], others: Iterable[Row]) -> list[Row]:
    """Of two files: of two values of one run, that of the others."""
    return list({(_place(row), row["run"]): row for row in (*rows, *others)}.values())


def known_runs(
    plans: Iterable[PlanFile], schedule: Schedule, rows: Sequence[Row], needed: Collection[str] = ()
) -> set[str]:
    """The runs that need not be done, since the rows have all that the plans want of them; none that is `needed`, nor
    one that a run to be done starts from."""
    known: dict[str, bool] = {}
    for plan in plans:
        stored, asked = _kept(plan, schedule, rows), _asked(plan)
        for place in schedule.places[plan.name]:
            keys = [(measure, target, place.cell, place.task) for measure, target in asked[place.cell, place.task]]
            there = all((place.seed, place.draw) in stored.get(key, {}) for key in keys)
            known[place.run] = known.get(place.run, True) and there
    left = [*needed, *(name for name, there in known.items() if not there)]
    known |= dict.fromkeys(needed, False)
    while left:
        for name in schedule.runs[left.pop()].waits_for:
            if known.get(name):
                known[name] = False
                left.append(name)
    return {name for name, there in known.items() if there}


def _asked(plan: PlanFile) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """By cell and task: (measure, target) of what each run must tell, so that its folder is not needed."""
    found = {}
    for cell in plan.cells:
        for task in cell.tasks:
            found[cell.name, task] = [("val" if plan.view == TRIALS else "score", "")]
            found[cell.name, task] += [(FORGETTING, plan.forgetting)] if "forgetting" in cell.measure else []
    for claim in plan.claims:
        for name, task, measure, target in _of_claim(plan, claim):
            if measure in MEASURES:
                found[name, task].append((measure, target))
    return found


def known_costs(plan: PlanFile, schedule: Schedule, rows: Sequence[Row]) -> bool:
    """Whether the rows have the time and memory of all cells that are to be measured."""
    stored = _kept(plan, schedule, rows)
    return all(("cost_train_ms", "", cell, "") in stored for cell in plan.costed())


def _kept(plan: PlanFile, schedule: Schedule, rows: Sequence[Row]) -> Stored:
    """What the rows tell of the plan's runs by name, none of which is here."""
    return _stored(_joined(Table(plan, (), schedule.places[plan.name]), rows, ())[0])


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
