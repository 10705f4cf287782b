"""Whether a text names the noun that a pronoun stands for, as T5's form of WSC counts it.

Raffel et al., JMLR 2020, arXiv:1910.10683, section 3.2.2. In lower case and without determiners, the words of one of
the two must all be words of the other ("the fuzzy bunny" names "bunny"), and both or neither have an apostrophe ("Bob"
does not name "Bob's hat").
"""

from collections.abc import Sequence
from typing import Any

_DETERMINERS = frozenset(
    "a an the this that these those which whose my your his her our their some each every few many much".split()
)


def names_referent(prediction: str, referent: str) -> bool:
    """Whether the prediction names the referent; an empty one names nothing."""
    given, wanted = _words(prediction), _words(referent)
    if not given or ("'" in prediction) != ("'" in referent):
        return False
    return given <= wanted or wanted <= given


def referent_scores(task: Any, predictions: Sequence[str], examples: Sequence[Any]) -> dict[str, float]:
    """accuracy: the share of examples whose candidate is named if it is the referent, and not named if it is not.

    An example's references are its candidate and "True" or "False". An empty prediction is wrong either way.
    """
    right = 0
    for prediction, example in zip(predictions, examples, strict=True):
        candidate, is_referent = example.references
        right += bool(_words(prediction)) and names_referent(prediction, candidate) == (is_referent == "True")
    return {"accuracy": right / len(examples)}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.lower().split()) - _DETERMINERS
