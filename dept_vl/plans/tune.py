"""Rates tuned for every method alike: the same factors on its own rates, as many trials for each, chosen on validation.

    tune: {factors: [0.1, 0.3, 1, 3, 10], seeds: [101], around: [0.3333, 3], around_seeds: [1, 2, 3]}

A trial is a cell with all its rates times a factor, the projection's left as it is; where the projection alone trains
there is one trial, where nothing does (`max_steps: 0`) none. A method's factor is the one with the highest mean
validation score over the tasks and the trial seeds; the test split never chooses. The plan's own seeds then run at it,
and `around_seeds` at these multiples of it, which tell how much the score depends on the rate.
"""

import dataclasses
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dept_vl.config import Experiment
from dept_vl.plans.schema import BEST, TRIALS, Cell, Number, PlanFile
from dept_vl.plans.settings import BadPlan, Settings, merge
from dept_vl.plans.summary import first_best
from dept_vl.plans.table import Table, single

KEPT = "projection"  # the rate that belongs to no method


@dataclass(frozen=True)
class Chosen:
    """factor: on the cell's rates. trials: how many were made. at_edge: whether it is the least or greatest tried."""

    factor: Number
    trials: int
    at_edge: bool


def trials(plan: PlanFile) -> PlanFile:
    """The plan of all trials. Raises: BadPlan for cells that start from others, whose rates cannot be told apart, and
    for a rate that is left to the model."""
    if linked := [cell.name for cell in plan.cells if cell.needs or cell.sources]:
        raise BadPlan(f"{plan.path}: tune: wanted cells that start from none, given {', '.join(linked)}")
    for cell in plan.cells:
        left = [name for name, rate in _rates(cell).items() if rate is None]
        if left and _factors(plan, cell):
            given = "null, which is the model's to choose: give a rate to multiply"
            raise BadPlan(f"{plan.path}: tune: cell {cell.name}: wanted a number for optim.lr.{left[0]}, given {given}")
    cells = []
    for cell in plan.cells:
        steps = cell.settings.get("max_steps", Experiment().max_steps)
        evaluated = {"eval_steps": cell.settings.get("eval_steps") or steps}
        for factor in _factors(plan, cell):
            settings = merge(merge(_scaled(cell, factor), evaluated), plan.tune.settings)
            named = _name(cell.name, factor)
            cells.append(
                dataclasses.replace(cell, name=named, settings=settings, seeds=plan.tune.seeds, measure=("score",))
            )
    path = plan.path.with_name(f"{plan.name}_trials.yaml")
    title = f"{plan.title or plan.name}: trials of the learning rates"
    kept = {"cells": tuple(cells), "pick": BEST, "claims": (), "plots": (), "path": path, "title": title, "tune": None}
    return dataclasses.replace(plan, view=TRIALS, **kept)


def choose(plan: PlanFile, table: Table) -> dict[str, Chosen]:
    """By cell of the plan: its factor, of those cells all of whose trials are finished. table: of the trials."""
    found = {}
    for cell in plan.cells:
        means, factors = {}, _factors(plan, cell)
        for factor in factors:
            name = _name(cell.name, factor)
            wanted = sum(place.cell == name for place in table.wanted)
            scores = [score for task in cell.tasks for score in single(table, "val", name, task).values()]
            if len(scores) == wanted:
                means[factor] = statistics.fmean(scores)
        if not factors:
            found[cell.name] = Chosen(1, 0, False)
        elif len(means) == len(factors):
            best = list(means)[first_best(list(means.values()))]
            found[cell.name] = Chosen(
                best, len(means) * len(plan.tune.seeds), len(means) > 1 and best in (min(means), max(means))
            )
    return found


def tuned(plan: PlanFile, chosen: Mapping[str, Chosen]) -> PlanFile:
    """The plan at the chosen rates, each cell followed by its neighbours; cells without a choice are left out."""
    cells: list[Cell] = []
    for cell in plan.cells:
        if cell.name not in chosen:
            continue
        if not _factors(plan, cell):
            cells.append(cell)
            continue
        factor = chosen[cell.name].factor
        cells.append(dataclasses.replace(cell, settings=_scaled(cell, factor)))
        for multiple in plan.tune.around if len(_factors(plan, cell)) > 1 else ():
            cells.append(
                dataclasses.replace(
                    cell,
                    name=beside(cell.name, multiple),
                    settings=_scaled(cell, factor * multiple),
                    seeds=plan.tune.around_seeds,
                    measure=("score",),
                )
            )
    claims = tuple(each for each in plan.claims if {*each.first, *each.second} <= chosen.keys())
    return dataclasses.replace(plan, cells=tuple(cells), claims=claims, tuned=dict(chosen))


def beside(cell: str, multiple: Number) -> str:
    """The name of a cell at a multiple of its rates."""
    return f"{cell}, tuned rates x {multiple:.3g}"


def _name(cell: str, factor: Number) -> str:
    return f"{cell}, rates x {factor:g}"


def _factors(plan: PlanFile, cell: Cell) -> tuple[Number, ...]:
    """Those of the plan; one where the projection alone trains, for its trials would all be the same run; none where
    nothing does."""
    if cell.settings.get("max_steps") == 0:
        return ()
    adapter, inside = (cell.settings.get(part, {}).get("name") for part in ("adapter", "inside"))
    return (1,) if adapter == "none" and inside is None else plan.tune.factors


def _scaled(cell: Cell, factor: Number) -> Settings:
    scaled = {name: rate if name == KEPT else float(f"{rate * factor:.4g}") for name, rate in _rates(cell).items()}
    return merge(cell.settings, {"optim": {"lr": scaled}})


def _rates(cell: Cell) -> Mapping[str, Any]:
    return cell.settings.get("optim", {}).get("lr", {})
