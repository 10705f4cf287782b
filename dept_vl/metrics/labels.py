"""Scores of predicted classes and numbers, through scikit-learn and scipy: accuracy, F1, Matthews, Pearson, Spearman.

An output that is no label is an error in both directions: of two classes it counts as the other one, of several as a
class of its own that is never right. An output that is no number counts as -1. A correlation with a constant is 0.0.
So do the published runs (github.com/ZhengxiangShi/DePT, src/metrics.py).

scikit-learn and scipy are imported by the functions that call them: they take two seconds, and training needs none.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dept_vl.registry import UnknownName, wanted_one_of

NO_NUMBER = -1.0

Score = Callable[[Sequence[str], Sequence[str], Sequence[str]], float]  # labels, golds, predictions


def label_scores(*metrics: str) -> Callable[[Any, Sequence[str], Sequence[Any]], dict[str, float]]:
    """A task's `scores`: these metrics, as fractions, of predictions against each example's first reference.

    Raises: UnknownName.
    """
    if unknown := [metric for metric in metrics if metric not in METRICS]:
        raise UnknownName(f"metrics: {wanted_one_of(METRICS, unknown[0])}")

    def scores(task: Any, predictions: Sequence[str], examples: Sequence[Any]) -> dict[str, float]:
        golds = [example.references[0] for example in examples]
        return {metric: METRICS[metric](task.labels, golds, predictions) for metric in metrics}

    return scores


def numbered(labels: Sequence[str], golds: Sequence[str], predictions: Sequence[str]) -> tuple[list[int], list[int]]:
    """Gold and predicted class numbers; an output that is no label becomes a wrong one. Raises: ValueError."""
    place = {label: number for number, label in enumerate(labels)}
    if unknown := sorted(set(golds) - set(place)):
        raise ValueError(f"wanted gold labels of {', '.join(labels)}, given {', '.join(map(repr, unknown))}")
    truth = [place[gold] for gold in golds]
    wrong = [1 - number if len(labels) == 2 else len(labels) for number in truth]
    return truth, [place.get(text, other) for text, other in zip(predictions, wrong, strict=True)]


def accuracy(labels: Sequence[str], golds: Sequence[str], predictions: Sequence[str]) -> float:
    """The share that is right."""
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(*numbered(labels, golds, predictions)))


def f1(labels: Sequence[str], golds: Sequence[str], predictions: Sequence[str]) -> float:
    """F1 of the second of two classes. Raises: ValueError."""
    if len(labels) != 2:
        raise ValueError(f"f1: wanted two classes, given {len(labels)} ({', '.join(labels)}); f1_macro takes more")
    return class_f1(*numbered(labels, golds, predictions), 1)


def f1_macro(labels: Sequence[str], golds: Sequence[str], predictions: Sequence[str]) -> float:
    """Mean F1 of all classes; one that is neither in the golds nor in the predictions counts as 0, as published."""
    from sklearn.metrics import f1_score

    truth, given = numbered(labels, golds, predictions)
    return float(f1_score(truth, given, labels=range(len(labels)), average="macro", zero_division=0))


def class_f1(truth: Sequence[int], given: Sequence[int], number: int) -> float:
    """F1 of one class, 0.0 where it is neither in the truth nor given."""
    from sklearn.metrics import f1_score

    return float(f1_score(truth, given, labels=[number], average="macro", zero_division=0))


def matthews_correlation(labels: Sequence[str], golds: Sequence[str], predictions: Sequence[str]) -> float:
    """Matthews' correlation of two classes, 0.0 where one side is constant. Raises: ValueError."""
    from sklearn.metrics import matthews_corrcoef

    if len(labels) != 2:
        raise ValueError(f"matthews_correlation: wanted two classes, given {len(labels)} ({', '.join(labels)})")
    truth, given = numbered(labels, golds, predictions)
    return float(matthews_corrcoef(truth, given)) if len(set(truth)) == len(set(given)) == 2 else 0.0


def pearson(labels: Sequence[str], golds: Sequence[str], predictions: Sequence[str]) -> float:
    """Pearson's correlation of the numbers."""
    return correlation([float(gold) for gold in golds], [as_number(text) for text in predictions])


def spearmanr(labels: Sequence[str], golds: Sequence[str], predictions: Sequence[str]) -> float:
    """Spearman's correlation of the numbers."""
    from scipy.stats import rankdata

    ranks = (rankdata(side) for side in (list(map(float, golds)), list(map(as_number, predictions))))
    return correlation(*(each.tolist() for each in ranks))


def as_number(text: str) -> float:
    """The number that a text is, -1.0 for one that is none or not finite."""
    try:
        value = float(text)
    except ValueError:
        return NO_NUMBER
    return value if math.isfinite(value) else NO_NUMBER


def correlation(first: Sequence[float | int], second: Sequence[float | int]) -> float:
    """Pearson's correlation, 0.0 where one side is constant."""
    from scipy.stats import NearConstantInputWarning, pearsonr

    sides = [np.asarray(side, float) for side in (first, second)]
    if any(side.min() == side.max() for side in sides):
        return 0.0
    scaled = [side / np.abs(side).max() for side in sides]  # a prediction may be 1e308: no mean overflows
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NearConstantInputWarning)
        value = float(pearsonr(*scaled).statistic)
    return value if math.isfinite(value) else 0.0


METRICS: dict[str, Score] = {
    "accuracy": accuracy,
    "f1": f1,
    "f1_macro": f1_macro,
    "matthews_correlation": matthews_correlation,
    "pearson": pearson,
    "spearmanr": spearmanr,
}
