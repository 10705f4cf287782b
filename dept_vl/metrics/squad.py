"""Exact match and word F1 of short answers, as SQuAD's official scripts count them.

Rajpurkar et al., EMNLP 2016, arXiv:1606.05250 (evaluate-v1.1.py), and ACL 2018, arXiv:1806.03822 (evaluate-v2.0.py):

    precision = shared words / words of the prediction,  recall = shared words / words of the gold answer,
    F1 = 2 precision recall / (precision + recall),      the best over the gold answers

Words are those of `normalise`; a word counts as shared as often as both have it. Where either side is empty after
normalisation, both numbers are 1.0 if the other is empty too, else 0.0: so does the script of version 2.0, and the one
of 1.1 differs only in the F1 of two empty answers, which it calls 0. The MRQA shared task scores the same way.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence
from math import fsum
from typing import Any

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """Lower case, without ASCII punctuation, without articles, with single spaces: "The U.S." gives "us".

    Punctuation is deleted, not replaced ("by-pass" gives "bypass"), and goes before the articles ("a-b" gives "ab").
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_WITHOUT_PUNCTUATION)).split())


def exact_match(prediction: str, golds: Sequence[str]) -> float:
    """1.0 if the normalised prediction is one of the normalised gold answers, else 0.0.

    Raises: ValueError without gold answers.
    """
    _check(golds)
    given = normalise(prediction)
    return float(any(normalise(gold) == given for gold in golds))


def f1(prediction: str, golds: Sequence[str]) -> float:
    """The best F1 of the prediction's words against the words of one gold answer.

    Raises: ValueError without gold answers.
    """
    _check(golds)
    given = normalise(prediction).split()
    return max(_overlap(given, normalise(gold).split()) for gold in golds)


def mean_scores(pairs: Sequence[tuple[str, Sequence[str]]]) -> dict[str, float]:
    """The means of `exact_match` and `f1` as fractions over predictions with their gold answers."""
    return {
        "exact_match": fsum(exact_match(given, golds) for given, golds in pairs) / len(pairs),
        "f1": fsum(f1(given, golds) for given, golds in pairs) / len(pairs),
    }


def answer_scores(task: Any, predictions: Sequence[str], examples: Sequence[Any]) -> dict[str, float]:
    """`mean_scores` of each prediction against its example's references: a task's `scores`."""
    return mean_scores([(given, each.references) for given, each in zip(predictions, examples, strict=True)])


def _overlap(given: Sequence[str], gold: Sequence[str]) -> float:
    if not given or not gold:
        return float(given == gold)
    return 2 * (Counter(given) & Counter(gold)).total() / (len(given) + len(gold))


def _check(golds: Sequence[str]) -> None:
    if isinstance(golds, str) or not golds:
        raise ValueError(f"wanted a list of at least one gold answer, given {golds!r}")
