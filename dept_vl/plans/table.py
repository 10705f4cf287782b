"""The table of a plan: its finished runs, each with its place, and what is measured of them by repeat."""

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from dept_vl.plans.costs import Costs, costs_path, read_costs
from dept_vl.plans.forgotten import read_forgotten
from dept_vl.plans.runs import RESULTS, Place, Schedule
from dept_vl.plans.schema import PlanFile
from dept_vl.plans.settings import BadPlan
from dept_vl.plans.similarity import cosine_of
from dept_vl.registry import did_you_mean
from dept_vl.run.results import MULTI, regime_of

LOG = "metrics.jsonl"
_BYTES = 4  # float32
_COPIES = 4  # of a trained weight: itself, its gradient, AdamW's two averages
COLUMNS = ("cell", "task", "seed", "draw", "val", "test", "seconds", "weights", "folder", "regime")


@dataclass(frozen=True)
class Outcome:
    """A finished run where it stands in a plan. results: its results.json; of a mixture's run that of the place's task,
    and `folder` is that task's."""

    place: Place
    folder: Path
    results: Mapping[str, Any]

    @property
    def test(self) -> float:
        """The reported score, a fraction."""
        return float(self.results["metrics"]["test"][self.results["selection"]["reported"]])

    @property
    def val(self) -> float | None:
        """The score that selects, of the best step; None without evaluations."""
        scores = self.results["metrics"].get("val")
        return None if scores is None else float(scores[self.results["selection"]["metric"]])

    @property
    def regime(self) -> str:
        """ "single-task" or "multi-task"."""
        return regime_of(self.results)

    @property
    def weights(self) -> int:
        """Trained weights without the projection's."""
        weights = self.results["weights"]
        return weights["trained"] - weights["by_group"].get("projection", 0)

    @property
    def seconds(self) -> float:
        """Of training, evaluation left out."""
        return float(self.results["train_info"]["train_time"])

    def log(self) -> list[dict[str, Any]]:
        """The lines of its metrics.jsonl; a mixture's tasks have one together."""
        path = (self.folder if (self.folder / LOG).exists() else self.folder.parent) / LOG
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


Repeat = tuple[int, int]  # seed and draw; the round and 0 for costs
Stored = Mapping[tuple[str, str, str, str], dict[Repeat, float]]  # by measure, target, cell and task; "" for none


@dataclass(frozen=True)
class Table:
    """wanted: every place of the plan. costs: by cell, None where not measured. stored: all single values, where some
    are of runs whose folders are not here: what is asked then in place of outcomes and costs. forgotten: by place, nats
    per token (`run.forgetting`)."""

    plan: PlanFile
    outcomes: tuple[Outcome, ...]
    wanted: tuple[Place, ...]
    costs: Costs | None = None
    stored: Stored | None = None
    forgotten: Mapping[Place, float] = field(default_factory=dict)

    @property
    def done(self) -> list[Place]:
        """The wanted places of which there is a result."""
        if self.stored is None:
            there = {each.place for each in self.outcomes}
            return [each for each in self.wanted if each in there]
        repeats = {key[2:]: found for key, found in self.stored.items() if key[:2] in (("score", ""), ("val", ""))}
        return [each for each in self.wanted if (each.seed, each.draw) in repeats.get((each.cell, each.task), {})]

    @property
    def finished(self) -> int:
        """How many of the wanted results there are."""
        return len(self.done)

    def of(self, cell: str, task: str | None = None) -> list[Outcome]:
        return [each for each in self.outcomes if each.place.cell == cell and task in (None, each.place.task)]

    def twin(self, outcome: Outcome, cell: str) -> Outcome | None:
        """The run of another cell with the same task, seed and draw."""
        place = outcome.place
        same = (place.seed, place.draw)
        return next((each for each in self.of(cell, place.task) if (each.place.seed, each.place.draw) == same), None)

    def shown(self, cell: str, task: str) -> str:
        """The cell's name, marked where a mixture trained what is scored on the task."""
        return f"{cell} ({MULTI})" if MULTI in {each.regime for each in self.of(cell, task)} else cell

    def rows(self) -> list[dict[str, Any]]:
        """A mapping of COLUMNS for each wanted run; one that is not finished has no numbers."""
        done = {each.place: each for each in self.outcomes}
        found = []
        for place in self.wanted:
            each = done.get(place)
            facts = [each.val, each.test, each.seconds, each.weights] if each else self._kept(place)
            values = [place.cell, place.task, place.seed, place.draw, *facts, f"runs/{place.run}"]
            found.append(dict(zip(COLUMNS, [*values, each.regime if each else None], strict=True)))
        return found

    def _kept(self, place: Place) -> list[float | None]:
        """val, test, seconds and weights of a run whose values alone are here."""
        found = []
        for measure, share in (("val", 100), ("score", 100), ("train_seconds", 1), ("weights", 1)):
            values = (self.stored or {}).get((measure, "", place.cell, place.task), {})
            value = values.get((place.seed, place.draw))
            found.append(None if value is None else value / share)
        return found

    def as_csv(self) -> str:
        """`rows` below the names of COLUMNS."""
        file = io.StringIO()
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows())
        return file.getvalue()


def read_table(plan: PlanFile, schedule: Schedule, root: Path) -> Table:
    """Raises: StaleRun."""
    places = schedule.places[plan.name]
    runs = [(place, schedule.runs[place.run]) for place in places]
    found = [(place, run.folder, run.results()) for place, run in runs]
    outcomes = tuple(_outcome(place, folder, results) for place, folder, results in found if results is not None)
    costs = read_costs(costs_path(plan, root)) if plan.costed() else None
    forgotten = read_forgotten(plan, [(each.place, each.folder) for each in outcomes], root)
    return Table(plan, outcomes, places, costs, forgotten=forgotten)


def _outcome(place: Place, folder: Path, results: Mapping[str, Any]) -> Outcome:
    """A mixture's run stands at the place of each of its tasks."""
    if place.task in results.get("members", {}):
        folder = folder / results["members"][place.task]["folder"]
        results = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    return Outcome(place, folder, results)


def _held(outcome: Outcome) -> float | None:
    weights = outcome.results["weights"]
    if "backbone" not in weights:
        return None
    return _BYTES * (weights["backbone"] + _COPIES * weights["trained"]) / 1e6


def _share(outcome: Outcome) -> float | None:
    info = outcome.results["train_info"]
    whole, part = info.get("flops_full"), info.get("flops")
    return None if not whole or part is None else 100 * (part + (info.get("scoring_flops") or 0)) / whole


def _steps(outcome: Outcome) -> float | None:
    steps = outcome.results["train_info"].get("steps")
    return None if steps is None else float(steps)


def _test_rows(outcome: Outcome) -> float | None:
    rows = outcome.results.get("counts", {}).get("test", {}).get("examples")
    return None if rows is None else float(rows)


def _diagnostic(name: str, place: int) -> Callable[[Outcome], float | None]:
    def measure(outcome: Outcome) -> float | None:
        lines = [line["diagnostics"][name] for line in outcome.log() if name in line.get("diagnostics", {})]
        return float(lines[place]) if lines else None

    return measure


MEASURES: dict[str, Callable[[Outcome], float | None]] = {
    "score": lambda each: 100 * each.test,
    "val": lambda each: None if each.val is None else 100 * each.val,
    "train_seconds": lambda each: each.seconds,
    "weights": lambda each: float(each.weights),
    "flops_share": _share,
    "held_mb": _held,
    "file_bytes": lambda each: each.results["train_info"].get("file_size"),
    "steps": _steps,
    "test_rows": _test_rows,
    "positive_first": _diagnostic("positive", 0),
    "positive_last": _diagnostic("positive", -1),
    "rank_first": _diagnostic("rank", 0),
    "rank_last": _diagnostic("rank", -1),
}
"""Of one run: points (0 to 100; `val` of the best step), seconds, weights without the projection, 10^6 bytes of weights
while they train, percent of the full model's FLOPs, counts."""

COST_MEASURES = ("cost_train_ms", "cost_eval_ms", "cost_folded_ms", "cost_memory_mb", "cost_eval_gflops")
FORGETTING = "forgetting"  # nats per token of held-out plain text, with the adapter less without
REACH_MEASURES = ("reach_flops", "reach_seconds")
SIMILARITY = "cosine"  # of the folded prompt with that of the target's run of the same seed
EXACT = ("weights", "file_bytes", "held_mb", "test_rows", "cost_memory_mb", "cost_eval_gflops", "flops_share")
"""Counted: neither seed nor clock moves them."""
UNITS = {
    "score": "points",
    "train_seconds": "s",
    "weights": "weights",
    "file_bytes": "bytes",
    "held_mb": "MB",
    "flops_share": "% of FLOPs",
    "reach_flops": "% of FLOPs",
    "reach_seconds": "% of seconds",
    "cost_train_ms": "ms",
    "cost_eval_ms": "ms",
    "cost_folded_ms": "ms",
    "cost_eval_gflops": "GFLOPs",
    "forgetting": "nats",
    "cost_memory_mb": "MB",
}


def check_measure(where: str, name: str) -> None:
    """Raises: BadPlan for a measure that there is not."""
    known = (*MEASURES, *COST_MEASURES, *REACH_MEASURES, SIMILARITY, FORGETTING)
    if name not in known:
        raise BadPlan(f"{where}: wanted a measure of {', '.join(known)}, given {name!r}.{did_you_mean(name, known)}")


def values(
    table: Table, measure: str, cells: Sequence[str], *, tasks: Sequence[str] = (), target: str | None = None
) -> dict[Repeat, float]:
    """By repeat (seed and draw; the round, for costs): the measure, averaged over cells and tasks.

    A repeat counts where all its runs are finished and have the measure.
    """
    check_measure(str(table.plan.path), measure)
    found = []
    for cell in cells:
        of_cell = [each for each in table.plan.cell(cell).tasks if not tasks or each in tasks]
        for task in ("",) if measure in COST_MEASURES else of_cell:
            found.append(single(table, measure, cell, task, target))
    if not found:
        return {}
    common = [repeat for repeat in found[0] if all(repeat in each for each in found)]
    return {repeat: math.fsum(each[repeat] for each in found) / len(found) for repeat in common}


def single(table: Table, measure: str, cell: str, task: str, target: str | None = None) -> dict[Repeat, float]:
    """By repeat, the measure of a cell on a task ("" for costs), of those repeats that have it."""
    if table.stored is not None:
        target = table.plan.forgetting if measure == FORGETTING else target
        return table.stored.get((measure, target or "", cell, task), {})
    if measure in COST_MEASURES:
        rounds = (table.costs or {}).get(cell, {}).get(measure.removeprefix("cost_"), [])
        return {(number, 0): float(value) for number, value in enumerate(rounds)}
    found = {}
    for outcome in table.of(cell, task):
        if measure == FORGETTING:
            value = table.forgotten.get(outcome.place)
        else:
            value = _beside(table, outcome, measure, target) if target else MEASURES[measure](outcome)
        if value is not None:
            found[outcome.place.seed, outcome.place.draw] = float(value)
    return found


def _beside(table: Table, outcome: Outcome, measure: str, target: str) -> float | None:
    same = table.twin(outcome, target)
    if same is None:
        return None
    if measure == "score":
        return MEASURES[measure](outcome)
    return cosine_of(outcome.folder, same.folder) if measure == SIMILARITY else reach(outcome, same, measure)


def reach(outcome: Outcome, target: Outcome, measure: str) -> float | None:
    """How much of the target's whole training the run needs until its validation score is the target's best one, in
    percent of the target's FLOPs or seconds; None where it never gets there."""
    course = spent(target)
    goal, whole = max(each.score for each in course), course[-1]
    for each in spent(outcome):
        if each.score >= goal - 1e-12:
            part, of = (each.flops, whole.flops) if measure == "reach_flops" else (each.seconds, whole.seconds)
            return None if part is None or not of else 100 * part / of
    return None


class Spent(NamedTuple):
    """At an evaluation: the validation score, and FLOPs and seconds of training so far, scoring of neurons included."""

    step: int
    score: float
    flops: float | None
    seconds: float


def spent(outcome: Outcome) -> list[Spent]:
    """FLOPs as the log has them; in proportion to the steps for a run without stages whose log has none."""
    info, metric = outcome.results["train_info"], outcome.results["selection"]["metric"]
    lines = outcome.log()
    steps = lines[-1]["step"] if lines else outcome.results["run_info"]["train_config"]["max_steps"]
    seconds = {line["step"]: line["seconds"] for line in lines if "seconds" in line}
    scoring = info.get("scoring_flops") or 0
    flops = {line["step"]: float(line["flops"] + scoring) for line in lines if "flops" in line}
    even = None if info.get("flops") is None or info.get("stages") else info["flops"] / steps
    return [
        Spent(
            step := each["step"],
            each[metric],
            flops.get(step, None if even is None else info["flops"] * step / steps),
            seconds.get(step, info["train_time"] * step / steps),
        )
        for each in info["metrics"]
    ]
