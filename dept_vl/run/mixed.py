"""What a mixture's run leaves: its own results with the mean, and for each task those of a run of its own.

runs/mix/           results.json with "mean" and the tasks' scores, predictions.jsonl with a task in each row, the
                    adapter, the report
runs/mix/cola/      results.json, predictions.jsonl, config.yaml and the adapter as a run of cola alone leaves them,
                    marked as multi-task: what reads a run folder reads this one
"""

import dataclasses
import datetime
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dept_vl.run.parts import Parts, answers_to
from dept_vl.run.results import assemble, prediction_rows, write_predictions
from dept_vl.train import Trained

PREDICTIONS = "predictions.jsonl"
_FIELDS = ("references", "image", "text", "question_type", "group")


def keep_predictions(parts: Parts, predictions: Mapping[Any, str], folder: Path) -> None:
    """The test rows with their answers; a mixture's name their task, and each task's stand in its folder too."""
    rows = []
    for each in parts.members:
        name, answers = each.task.name, answers_to(each.task.name, predictions)
        examples = each.splits["test"].examples
        write_predictions(Path(each.config.output_dir) / PREDICTIONS, prediction_rows(examples, answers, _FIELDS))
        rows += prediction_rows(examples, answers, _FIELDS, task=name)
    if not parts.members:
        rows = prediction_rows(parts.splits["test"].examples, predictions, _FIELDS)
    write_predictions(folder / PREDICTIONS, rows)


def assemble_all(
    parts: Parts,
    trained: Trained,
    scores: dict[str, Any],
    baselines: Mapping[str, dict[str, float]],
    predictions: Mapping[Any, str],
    began: datetime.datetime,
    seconds: float,
) -> dict[str, dict[str, Any]]:
    """What each results.json holds, by the task's name: one of a single task; of a mixture one a task, and its own.

    baselines: by task. A mixture's are the means of those that all its tasks have.
    """
    if not parts.members:
        name = parts.task.name
        return {name: assemble(parts, trained, scores, baselines[name], predictions, began, seconds)}
    found = {}
    for each in parts.members:
        name = each.task.name
        own = dataclasses.replace(trained, evaluations=[_own(numbers, name) for numbers in trained.evaluations])
        answers = answers_to(name, predictions)
        found[name] = assemble(each, own, scores["tasks"][name], baselines[name], answers, began, seconds)
    first, *others = baselines.values()
    shared = [name for name in first if all(name in each for each in others)]
    means = {name: statistics.fmean(each[name] for each in baselines.values()) for name in shared}
    whole = assemble(parts, trained, scores, means, predictions, began, seconds)
    whole["members"] = {name: _line(results) for name, results in found.items()}
    return {**found, parts.task.name: whole}


def _own(numbers: Mapping[str, int | float], task: str) -> dict[str, int | float]:
    """Of an evaluation of the mixture what belongs to the task, under the names that a run of its own gives."""
    front = f"{task}/"
    own = {name.removeprefix(front): value for name, value in numbers.items() if name.startswith(front)}
    return {"step": numbers["step"], **own}


def _line(results: Mapping[str, Any]) -> dict[str, Any]:
    reported = results["selection"]["reported"]
    score = results["metrics"]["test"][reported]
    kept = {name: results[name] for name in ("protocol", "baselines", "labels")}
    return {"folder": results["task"], "reported": reported, "score": score, **kept}
