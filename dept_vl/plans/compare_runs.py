"""From two lists of run folders to a paired comparison of what they answered."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dept_vl.config import load_experiment
from dept_vl.data.text_files import read_rows
from dept_vl.metrics.answers import SCORES
from dept_vl.plans.paired import Paired, compare_paired
from dept_vl.registry import did_you_mean
from dept_vl.run import build_task
from dept_vl.tasks import CaptionTask, Example, Mixture, Task, VqaTask
from dept_vl.untrusted.bad_file import listed
from dept_vl.untrusted.json_files import read_json

_MEANS = (
    "accuracy", "vqa_accuracy", "exact_match", "best_match", "token_f1", "anls", "relaxed_accuracy",
    "rouge1", "rouge2", "rougeL", "rougeLsum",
)  # fmt: skip
_SAME = 1e-9


class NotComparable(ValueError):
    """Runs on other items, of other tasks, or whose files do not give their own score."""


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """What a run folder tells. scores: of the test split, from results.json. examples: in the file's order."""

    folder: Path
    task: Task
    protocol: str
    scores: dict[str, Any]
    examples: tuple[Example, ...]
    predictions: dict[int | str, str]


@dataclasses.dataclass(frozen=True)
class PairedRuns:
    """metric: the compared score's name. first_runs, second_runs: its value in each run."""

    metric: str
    protocol: str
    first_runs: tuple[float, ...]
    second_runs: tuple[float, ...]
    paired: Paired

    def as_text(self) -> str:
        paired, (low, high) = self.paired, self.paired.interval

        def side(name: str, mean: float, runs: tuple[float, ...]) -> str:
            return f"  {name:<11} {100 * mean:7.2f}   ({', '.join(f'{100 * value:.2f}' for value in runs)})"

        kind = "" if paired.is_mean else f", if {self.metric} were a mean over items, which it is not"
        return "\n".join([
            f"test {self.metric} x 100 ({self.protocol}), {paired.items:,} items",
            side("first", paired.first, self.first_runs),
            side("second", paired.second, self.second_runs),
            f"  difference  {100 * paired.difference:+7.2f}   {100 * paired.level:g} % interval "
            f"{100 * low:+.2f} to {100 * high:+.2f} (paired bootstrap over items), p = {paired.p:.3g} (permutation "
            f"test); {paired.resamples:,} resamples each, seed {paired.seed}",
            f"  outputs differ on {paired.differing:,} of {paired.items:,} items; the difference amounts to "
            f"{paired.as_items:+.1f} items{kind}",
            "  both speak of other test items for these trained runs, not of other seeds",
        ])  # fmt: skip


def read_run(folder: Path) -> FinishedRun:
    """Raises: NotComparable for a folder that holds no finished run; BadFile, BadConfig for an unreadable file."""
    for name in ("results.json", "predictions.jsonl", "config.yaml"):
        if not (folder / name).exists():
            raise NotComparable(f"{folder}: wanted a finished run, given no {name}")
    results = read_json(folder / "results.json", dict[str, Any])
    rows = read_rows(folder / "predictions.jsonl").rows
    task = build_task(load_experiment(folder / "config.yaml"))
    if isinstance(task, Mixture):
        below = ", ".join(each.name for each in task.members)
        raise NotComparable(f"{folder}: wanted a run of one task, given a mixture: its tasks' folders are {below}")
    if isinstance(task, CaptionTask):  # one metric is compared; METEOR would start java for each resample
        task = dataclasses.replace(task, metrics=(task.headline,))
    if isinstance(task, VqaTask):  # auto looked at the selecting split too
        found = next((name for name in SCORES if name in results["metrics"]["test"]), task.metric)
        task = dataclasses.replace(task, metric=found)
    return FinishedRun(
        folder,
        task,
        results["protocol"],
        results["metrics"]["test"],
        tuple(map(_example, rows)),
        {row["id"]: row["prediction"] for row in rows},
    )


def _example(row: dict[str, Any]) -> Example:
    return Example(
        id=row["id"],
        source=row["text"],
        targets=(),
        weights=(),
        references=tuple(row["references"]),
        image=row.get("image"),
        question_type=row.get("question_type"),
        text=row["text"],
        group=row.get("group"),
    )


def compare_runs(
    first: Sequence[Path],
    second: Sequence[Path],
    *,
    metric: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> PairedRuns:
    """Compares two configs on the test items that all their runs answered; run k of one with run k of the other.

    metric: the task's headline unless named.

    Raises: NotComparable for items, references, tasks or protocols that differ, with the number of those that do;
        ValueError for lists of other lengths.
    """
    if not first or len(first) != len(second):
        raise NotComparable(
            f"wanted as many first as second runs, at least one, given {len(first)} and {len(second)}: "
            "seeds are averaged in pairs"
        )
    sides = [[read_run(folder) for folder in side] for side in (first, second)]
    runs = [run for side in sides for run in side]
    reference = runs[0]
    for run in runs[1:]:
        _check_same_items(reference, run)
    name = metric or reference.task.headline
    for run in runs:
        _check_metric(run, name)
    if isinstance(reference.task, CaptionTask) and name != reference.task.headline:
        raise NotComparable(f"--metric: wanted {reference.task.headline}, which captions are compared by, given {name}")

    def score(predictions: Sequence[str], examples: Sequence[Example]) -> float:
        by_id = {example.id: answer for example, answer in zip(examples, predictions, strict=True)}
        return float(reference.task.score(by_id, examples)[name])

    order = [example.id for example in reference.examples]
    answers = [[[run.predictions[each] for each in order] for run in side] for side in sides]
    for run, predictions in zip(runs, answers[0] + answers[1], strict=True):
        _check_score(run, name, score(predictions, reference.examples))
    paired = compare_paired(
        answers[0],
        answers[1],
        reference.examples,
        score,
        maybe_mean=is_mean(reference.task, name),
        resamples=resamples,
        seed=seed,
    )
    values = [tuple(float(run.scores[name]) for run in side) for side in sides]
    return PairedRuns(name, reference.protocol, values[0], values[1], paired)


def is_mean(task: Task, metric: str) -> bool:
    """Whether the metric is a mean over items; a classifier's F1 is none, a free answer's is."""
    return metric in _MEANS or (metric == "f1" and not task.candidates)


def _check_same_items(reference: FinishedRun, run: FinishedRun) -> None:
    for what, wanted, given in (
        ("task", reference.task.name, run.task.name),
        ("protocol", reference.protocol, run.protocol),
    ):
        if wanted != given:
            raise NotComparable(f"{what}: {reference.folder} has {wanted!r}, {run.folder} {given!r}: wanted one {what}")
    wanted, given = ({each.id: each for each in side.examples} for side in (reference, run))
    one_sided = wanted.keys() ^ given.keys()
    other = [key for key in wanted.keys() & given.keys() if _asked(wanted[key]) != _asked(given[key])]
    if one_sided or other:
        raise NotComparable(
            f"{reference.folder} and {run.folder}: wanted the same test items, given "
            f"{listed(sorted(one_sided, key=str))} that only one has and {listed(sorted(other, key=str))} with other "
            "references"
        )


def _asked(example: Example) -> tuple[Any, ...]:
    return (example.references, example.group)


def _check_metric(run: FinishedRun, metric: str) -> None:
    numbers = [name for name, value in run.scores.items() if isinstance(value, float)]
    if metric not in numbers:
        hint = did_you_mean(metric, numbers)
        raise NotComparable(f"{run.folder}: wanted a metric of {', '.join(numbers)}, given {metric!r}.{hint}")


def _check_score(run: FinishedRun, metric: str, found: float) -> None:
    if abs(found - run.scores[metric]) > _SAME:
        raise NotComparable(
            f"{run.folder}: results.json says {metric} {run.scores[metric]}, its predictions.jsonl gives {found}: "
            "wanted files of one run, scored as this version scores"
        )
