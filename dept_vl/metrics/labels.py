"""Scores of predicted classes and numbers: accuracy, F1, Matthews, Pearson and Spearman correlation.

An output that is no label is an error in both directions: of two classes it counts as the other one, of several as a
class of its own that is never right. An output that is no number counts as -1. A correlation with a constant is 0.0.
So do the published runs (github.com/ZhengxiangShi/DePT, src/metrics.py).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dept_vl.registry import UnknownName, did_you_mean

NO_NUMBER = -1.0

Score = Callable[[Sequence[str], Sequence[str], Sequence[str]], float]  # labels, golds, predictions


def label_scores(*metrics: str) -> Callable[[Any, Sequence[str], Sequence[Any]], dict[str, float]]:
    """A task's `scores`: these metrics, as fractions, of predictions against each example's first reference.

    Raises: UnknownName.
    """
    for metric in metrics:
        if metric not in METRICS:
            hint = did_you_mean(metric, METRICS)
            raise UnknownName(f"unknown metric {metric!r}: wanted one of {', '.join(METRICS)}.{hint}")

    def scores(task: Any, predictions: Sequence[str], examples: Sequence[Any]) -> dict[str, float]:
        golds = [example.references[0] for example in examples]
        return {metric: METRICS[metric](task.labels, golds, predictions) for metric in metrics}

    return scores


def numbered(labels: Sequence[str], golds: Sequence[str], predictions: Sequence[str]) -> tuple[list[int], list[int]]:
    """Gold and predicted class numbers; an output that is no label becomes a wrong one. Raises: ValueError."""
    place = {label: number for number, label in enumerate(labels)}
    if strangers := sorted(set(golds) - set(place)):
        raise ValueError(f"wanted gold labels of {', '.join(labels)}, given {', '.join(map(repr, strangers))}")
    truth = [place[gold] for gold in golds]
    wrong = [1 - number if len(labels) == 2 else len(labels) for number in truth]
    return truth, [place.get(text, other) for text, other in zip(predictions, wrong, strict=True)]


def accuracy(labels: Sequence[str], golds: Sequence[str], predictions: Sequence[str]) -> float:
    """The share that is right."""
    truth, given = numbered(labels, golds, predictions)
    return sum(map(int.__eq__, truth, given)) / len(truth)


def f1(labels: Sequence[str], golds: Sequence[str], predictions: Sequence[str]) -> float:
    """F1 of the second of two classes. Raises: ValueError."""
    if len(labels) != 2:
        raise ValueError(f"f1: wanted two classes, given {len(labels)} ({', '.join(labels)}); f1_macro takes more")
    return class_f1(*numbered(labels, golds, predictions), 1)


def f1_macro(labels: Sequence[str], golds: Sequence[str], predictions: Sequence[str]) -> float:
    """Mean F1 of all classes; one that is neither in the golds nor in the predictions counts as 0, as published."""
    truth, given = numbered(labels, golds, predictions)
    return sum(class_f1(truth, given, number) for number in range(len(labels))) / len(labels)


def class_f1(truth: Sequence[int], given: Sequence[int], number: int) -> float:
    """F1 of one class, 0.0 where it is neither in the truth nor given."""
    both = sum(a == b == number for a, b in zip(truth, given, strict=True))
    return 2 * both / max(1, truth.count(number) + given.count(number))


def matthews_correlation(labels: Sequence[str], golds: Sequence[str], predictions: Sequence[str]) -> float:
    """Matthews' correlation of two classes, which is Pearson's of their numbers. Raises: ValueError."""
    if len(labels) != 2:
        raise ValueError(f"matthews_correlation: wanted two classes, given {len(labels)} ({', '.join(labels)})")
    return correlation(*numbered(labels, golds, predictions))


def pearson(labels: Sequence[str], golds: Sequence[str], predictions: Sequence[str]) -> float:
    """Pearson's correlation of the numbers."""
    return correlation([float(gold) for gold in golds], [as_number(text) for text in predictions])


def spearmanr(labels: Sequence[str], golds: Sequence[str], predictions: Sequence[str]) -> float:
    """Spearman's: Pearson's correlation of the ranks, equal numbers sharing the mean of theirs."""
    return correlation(_ranks([float(gold) for gold in golds]), _ranks([as_number(text) for text in predictions]))


def as_number(text: str) -> float:
    """The number that a text is, -1.0 for one that is none or not finite."""
    try:
        value = float(text)
    except ValueError:
        return NO_NUMBER
    return value if math.isfinite(value) else NO_NUMBER


def correlation(first: Sequence[float | int], second: Sequence[float | int]) -> float:
    """Pearson's correlation, 0.0 where one side is constant."""
    a, b = _centred(first), _centred(second)
    norm = math.sqrt(float(a @ a) * float(b @ b))
    return max(-1.0, min(1.0, float(a @ b) / norm)) if norm else 0.0


def _centred(values: Sequence[float | int]) -> np.ndarray:
    """The deviations from the mean, the largest of them 1, so that no square overflows."""
    array = np.asarray(values, float)
    if array.min() == array.max():
        return np.zeros_like(array)  # a mean of equal numbers need not be the number
    array = array / np.abs(array).max()
    array = array - array.mean()
    return array / np.abs(array).max()


def _ranks(values: Sequence[float]) -> list[float]:
    _, place, times = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(times) - (times - 1) / 2)[place].tolist()


METRICS: dict[str, Score] = {
    "accuracy": accuracy,
    "f1": f1,
    "f1_macro": f1_macro,
    "matthews_correlation": matthews_correlation,
    "pearson": pearson,
    "spearmanr": spearmanr,
}
