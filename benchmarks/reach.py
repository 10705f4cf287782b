"""Row 15: seconds until the score of a prompt of 100, read off the runs of configs/plans/time_to_score.yaml.

Of each method the rate counts whose mean validation score is best over the seeds, as one would tune it; PT-100's too.
A run is at the goal when its validation score is at least the best that PT-100 has with the same seed; the figure is
its seconds of training until then / all seconds of that PT-100. A method that does not get there with every seed has
no figure, which the facts name.
"""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.setting import Setting
from benchmarks.table import Line, Measured, Target
from benchmarks.timing import spread
from dept_vl.plans.load import load_plan
from dept_vl.plans.runs import make_schedule
from dept_vl.plans.table import Outcome, Table, reach, read_table

PLAN = Path(__file__).resolve().parent.parent / "configs" / "plans" / "time_to_score.yaml"
GOAL = "PT-100"
INPUT_SIDE = Target("<=", 0.35)  # for the best method that changes what the frozen model reads


class NotRun(ValueError):
    """Runs of a plan that are not finished."""


def reaching(setting: Setting) -> Measured:
    """Each method's seconds to PT-100's score / PT-100's seconds. Raises: NotRun."""
    plan = load_plan(PLAN)
    table = read_table(plan, make_schedule([plan], setting.runs), setting.runs)
    if left := len(table.wanted) - len(table.outcomes):
        raise NotRun(
            f"reach: wanted the {len(table.wanted)} finished runs of {PLAN.name} in {setting.runs}, given "
            f"{len(table.outcomes)}, {left} left: python scripts/plan.py configs/plans/{PLAN.name} --jobs 2"
        )
    picked = best_cells(table)
    shares, missed = shares_of(table, picked)
    input_side = [name for name in shares if name not in (GOAL, "LoRA")]
    quickest = min(input_side, key=lambda name: _mean(shares[name]), default=None)
    lines = [
        Line(f"{name} ({picked[name]}) / {GOAL}", spread(values), INPUT_SIDE if name == quickest else None)
        for name, values in shares.items()
    ]
    short = {f"{name} ({picked[name]}) / {GOAL}": f"never there with seeds {seeds}" for name, seeds in missed.items()}
    facts = {"cells": picked, "never_reached": missed, "goal": _goal(table, picked[GOAL]), "not_measured": short}
    return Measured(lines, {}, facts, _made(table))


def best_cells(table: Table) -> dict[str, str]:
    """Of each method the cell with the best mean validation score, the first of equals."""
    found: dict[str, tuple[float, str]] = {}
    for cell in table.plan.cells:
        mean = _mean([each.val for each in table.of(cell.name)])
        if cell.series not in found or mean > found[cell.series][0]:
            found[cell.series] = mean, cell.name
    return {series: name for series, (_, name) in found.items()}


def shares_of(table: Table, picked: Mapping[str, str]) -> tuple[dict[str, list[float]], dict[str, list[int]]]:
    """The share of the goal's seconds seed by seed; of methods that do not always arrive, the seeds without."""
    shares, missed = {}, {}
    for name, cell in picked.items():
        found = {each.place.seed: reach(each, _twin(table, each, picked), "reach_seconds") for each in table.of(cell)}
        never = [seed for seed, share in found.items() if share is None]
        if never:
            missed[name] = never
        else:
            shares[name] = [share / 100 for share in found.values()]
    return shares, missed


def _twin(table: Table, outcome: Outcome, picked: Mapping[str, str]) -> Outcome:
    return table.twin(outcome, picked[GOAL])


def _goal(table: Table, cell: str) -> dict[str, float]:
    found: Sequence[Outcome] = table.of(cell)
    return {"val": _mean([each.val for each in found]), "seconds": _mean([each.seconds for each in found])}


def _made(table: Table) -> dict[str, str]:
    """The date of the last run, and the commits of all."""
    commits = sorted({str(each.results["meta_info"]["commit"]) for each in table.outcomes})
    dates = [each.results["run_info"]["created_at"] for each in table.outcomes]
    return {"date": max(dates), "commit": " and ".join(commits)}


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values)
