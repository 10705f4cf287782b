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
    found = shares_of(table, picked)
    shares = {
        name: [share for share in of.values() if share is not None]
        for name, of in found.items()
        if None not in of.values()
    }
    missed = {name: of for name, of in found.items() if None in of.values()}
    input_side = [name for name in shares if name not in (GOAL, "LoRA")]
    quickest = min(input_side, key=lambda name: _mean(shares[name]), default=None)
    lines = [
        Line(f"{name} ({picked[name]}) / {GOAL}", spread(values), INPUT_SIDE if name == quickest else None)
        for name, values in shares.items()
    ]
    facts = {
        "cells": picked,
        "never_reached": {name: [seed for seed, share in of.items() if share is None] for name, of in missed.items()},
        "goal": _goal(table, picked[GOAL]),
        "not_measured": {f"{name} ({picked[name]}) / {GOAL}": _by_seed(of) for name, of in missed.items()},
    }
    return Measured(lines, {}, facts, _made(table))


def best_cells(table: Table) -> dict[str, str]:
    """Of each method the cell with the best mean validation score, the first of equals."""
    found: dict[str, tuple[float, str]] = {}
    for cell in table.plan.cells:
        mean = _mean([each.val for each in table.of(cell.name)])
        if cell.series not in found or mean > found[cell.series][0]:
            found[cell.series] = mean, cell.name
    return {series: name for series, (_, name) in found.items()}


def shares_of(table: Table, picked: Mapping[str, str]) -> dict[str, dict[int, float | None]]:
    """Of each method the share of the goal's seconds seed by seed; None where it never arrives."""
    return {
        name: {each.place.seed: _share(each, table.twin(each, picked[GOAL])) for each in table.of(cell)}
        for name, cell in picked.items()
    }


def _share(outcome: Outcome, goal: Outcome) -> float | None:
    percent = reach(outcome, goal, "reach_seconds")
    return None if percent is None else percent / 100


def _by_seed(found: Mapping[int, float | None]) -> str:
    seeds = (f"seed {seed} {'never' if share is None else f'{share:.2f}'}" for seed, share in found.items())
    return f"it does not always arrive: {', '.join(seeds)}"


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
