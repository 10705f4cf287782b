"""ROUGE of summaries, through Google's rouge-score package. Lin, ACL Workshop 2004, W04-1013.

    ROUGE-L = 2 LCS / (words of the prediction + words of the gold summary)

with LCS the length of the longest common subsequence: F, the harmonic mean of precision and recall. ROUGE-1 and
ROUGE-2 count shared single words and pairs instead. Words are runs of a-z and 0-9 after lower-casing; those of more
than three letters are stemmed (Porter), as most summarisation scripts ask of the package; `evaluate`, which wraps the
same package, leaves stemming off by default.
"""

import re
from collections.abc import Sequence
from functools import cache
from math import fsum
from typing import Any

KINDS = ("rouge1", "rouge2", "rougeL")


def counts_words(text: str) -> bool:
    """Whether there is a word for ROUGE in a text."""
    return re.search("[a-z0-9]", text.lower()) is not None


def rouge(prediction: str, golds: Sequence[str]) -> dict[str, float]:
    """F of each of KINDS as a fraction, each the best over the gold summaries; 0.0 where either side has no words.

    Raises: ValueError without gold summaries.
    """
    if isinstance(golds, str) or not golds:
        raise ValueError(f"wanted a list of at least one gold summary, given {golds!r}")
    scores = _scorer().score_multi(golds, prediction)
    return {kind: float(scores[kind].fmeasure) for kind in KINDS}


def rouge_scores(task: Any, predictions: Sequence[str], examples: Sequence[Any]) -> dict[str, float]:
    """The means of `rouge` as fractions, each prediction against its example's references."""
    rows = [rouge(given, example.references) for given, example in zip(predictions, examples, strict=True)]
    return {kind: fsum(row[kind] for row in rows) / len(rows) for kind in KINDS}


@cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # here, since it brings all of nltk and only XSum needs it

    return RougeScorer(list(KINDS), use_stemmer=True)
