"""What the runs of a study came to: every finished run with its place, and the measures that are read from it."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dept_vl.registry import did_you_mean
from dept_vl.run.execute import RESULTS
from dept_vl.studies.costs import Costs
from dept_vl.studies.files import BadStudy, Study
from dept_vl.studies.plan import Place, Plan, flat
from dept_vl.studies.similarity import cosine_of

LOG = "metrics.jsonl"


class OtherRun(ValueError):
    """A run folder whose run had other settings than its name stands for."""


@dataclass(frozen=True)
class Outcome:
    """A finished run where it stands in a study. results: its results.json."""

    place: Place
    folder: Path
    results: Mapping[str, Any]


@dataclass(frozen=True)
class Done:
    """A study and what there is of it. wanted: how many runs it has. costs: by cell, None where not measured."""

    study: Study
    outcomes: tuple[Outcome, ...]
    wanted: int
    costs: Costs | None = None

    def of(self, cell: str, task: str | None = None) -> list[Outcome]:
        return [each for each in self.outcomes if each.place.cell == cell and task in (None, each.place.task)]


def read_outcomes(study: Study, plan: Plan, costs: Costs | None = None) -> Done:
    """Raises: OtherRun."""
    found, places = [], plan.places[study.name]
    for place in places:
        run = plan.runs[place.run]
        path = run.folder / RESULTS
        if path.exists():
            results = json.loads(path.read_text(encoding="utf-8"))
            _refuse_other(run.folder, flat(run.config), results["run_info"]["train_config"])
            found.append(Outcome(place, run.folder, results))
    return Done(study, tuple(found), len(places), costs)


def _refuse_other(folder: Path, wanted: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    for name in ("max_steps", "seed", "adapter.name", "task.name"):
        value: Any = given
        for word in name.split("."):
            value = value[word]
        if value != wanted[name]:
            raise OtherRun(
                f"{folder}: wanted a run with {name} {wanted[name]!r}, given {value!r}: move the folder away"
            )


def _share(part: str) -> Callable[[Outcome], float | None]:
    def measure(outcome: Outcome) -> float | None:
        info = outcome.results["train_info"]
        whole = info.get("flops_full")
        return (
            None
            if not whole or info.get(part) is None
            else 100 * (info[part] + (info.get("scoring_flops") or 0)) / whole
        )

    return measure


def _score(outcome: Outcome) -> float:
    results = outcome.results
    return 100 * float(results["metrics"]["test"][results["selection"]["reported"]])


def _diagnostic(name: str, last: bool) -> Callable[[Outcome], float | None]:
    def measure(outcome: Outcome) -> float | None:
        lines = [line["diagnostics"][name] for line in log(outcome) if name in line.get("diagnostics", {})]
        return float(lines[-1 if last else 0]) if lines else None

    return measure


MEASURES: dict[str, Callable[[Outcome], float | None]] = {
    "score": _score,
    "train_seconds": lambda each: float(each.results["train_info"]["train_time"]),
    "weights": lambda each: float(
        each.results["weights"]["trained"] - each.results["weights"]["by_group"].get("projection", 0)
    ),
    "flops_share": _share("flops"),
    "positive_first": _diagnostic("positive", last=False),
    "positive_last": _diagnostic("positive", last=True),
    "rank_first": _diagnostic("rank", last=False),
    "rank_last": _diagnostic("rank", last=True),
}
"""Of one run: points (0 to 100), seconds, weights without the projection, percent of the full model's FLOPs, counts."""

COST_MEASURES = ("cost_train_ms", "cost_eval_ms", "cost_memory_mb")
REACH_MEASURES = ("reach_flops", "reach_seconds")
SIMILARITY = "cosine"  # of the folded prompt with that of the target's run of the same seed
EXACT = ("weights", "cost_memory_mb")  # no seed and no clock moves them
UNITS = {
    "score": "points",
    "train_seconds": "s",
    "weights": "weights",
    "flops_share": "% of FLOPs",
    "reach_flops": "% of FLOPs",
    "reach_seconds": "% of seconds",
    "cost_train_ms": "ms",
    "cost_eval_ms": "ms",
    "cost_memory_mb": "MB",
}


def check_measure(where: str, name: str) -> None:
    """Raises: BadStudy for a measure that there is not."""
    known = (*MEASURES, *COST_MEASURES, *REACH_MEASURES, SIMILARITY)
    if name not in known:
        raise BadStudy(f"{where}: wanted a measure of {', '.join(known)}, given {name!r}.{did_you_mean(name, known)}")


def values(
    done: Done, measure: str, cells: Sequence[str], *, tasks: Sequence[str] = (), target: str | None = None
) -> dict[Any, float]:
    """By repeat (seed and draw; the round, for costs): the measure, averaged over cells and tasks.

    A repeat counts where all its runs are finished and have the measure.
    """
    check_measure(str(done.study.path), measure)
    if measure in COST_MEASURES:
        found = [(done.costs or {}).get(cell, {}).get(measure.removeprefix("cost_"), []) for cell in cells]
        return {number: math.fsum(row) / len(row) for number, row in enumerate(zip(*found, strict=False))}
    by_repeat: dict[Any, list[float]] = {}
    wanted = 0
    for cell in cells:
        kept = [each for each in done.study.cell(cell).tasks if not tasks or each in tasks]
        wanted += len(kept)
        for outcome in (each for task in kept for each in done.of(cell, task)):
            value = _reach(done, outcome, measure, target) if target else MEASURES[measure](outcome)
            if value is not None:
                by_repeat.setdefault((outcome.place.seed, outcome.place.draw), []).append(value)
    return {repeat: math.fsum(found) / wanted for repeat, found in by_repeat.items() if len(found) == wanted}


def _reach(done: Done, outcome: Outcome, measure: str, target: str) -> float | None:
    place = outcome.place
    same = [
        each for each in done.of(target, place.task) if (each.place.seed, each.place.draw) == (place.seed, place.draw)
    ]
    if not same:
        return None
    if measure == "score":
        return _score(outcome)
    if measure == SIMILARITY:
        return cosine_of(outcome.folder, same[0].folder)
    return reach(outcome, same[0], measure)


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
    info, metric = outcome.results["train_info"], outcome.results["selection"]["metric"]
    steps = outcome.results["run_info"]["train_config"]["max_steps"]
    lines = log(outcome)
    seconds = {line["step"]: line["seconds"] for line in lines if "seconds" in line}
    flops = {line["step"]: line["flops"] for line in lines if "flops" in line}
    scoring = info.get("scoring_flops") or 0
    return [
        Spent(
            each["step"],
            each[metric],
            _flops_until(info, flops, each["step"], steps, scoring),
            seconds.get(each["step"], info["train_time"] * each["step"] / steps),
        )
        for each in info["metrics"]
    ]


def _flops_until(
    info: Mapping[str, Any], logged: Mapping[int, int], step: int, steps: int, scoring: int
) -> float | None:
    """As the log has it; in proportion to the steps for a run without stages whose log has none."""
    if step in logged:
        return float(logged[step] + scoring)
    if info.get("flops") is None or info.get("stages"):
        return None
    return info["flops"] * step / steps


def log(outcome: Outcome) -> list[dict[str, Any]]:
    """The lines of the run's metrics.jsonl."""
    path = outcome.folder / LOG
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
