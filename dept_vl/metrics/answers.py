"""Scores of short answers by name, one for each kind of data; `choose_score` takes the one that the data allow.

| score            | an answer's worth is                                                        | from               |
|------------------|-----------------------------------------------------------------------------|--------------------|
| vqa_accuracy     | the leave-one-out mean of min(1, n / 3) over four answers or more           | `metrics.vqa`      |
| exact_match      | 1 where it equals the one reference after VQA's normalisation, else 0       | easy-VQA, GQA      |
| best_match       | the same for the best of several references                                 | VQA-RAD, ScienceQA |
| token_f1         | F1 of its words against the best of the references                          | `metrics.squad`    |
| anls             | 1 - edit distance / length of the longer text, 0 where that is below 0.5    | ST-VQA, DocVQA     |
| relaxed_accuracy | 1 where its number is within 5 % of the reference's, or the texts are equal | ChartQA            |

Sources: ANLS: Biten et al., ICCV 2019, arXiv:1905.13648; the paper drops a similarity of exactly 0.5, the program of
the competitions (rrc.cvc.uab.es, "ST-VQA", "DocVQA") keeps it, and we follow the program, which also compares with one
space in place of several but divides by the length of the texts as they came. Relaxed accuracy: Masry et al., Findings
of ACL 2022, arXiv:2203.10244, as pix2struct's `relaxed_correctness` counts it: "50%" is 0.5, so "50" is not near it; a
reference of 0, or one that is no number ("1,000"), is compared as text, whatever its case.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

from dept_vl.metrics import squad
from dept_vl.metrics.ids import ItemId, check_ids, in_order
from dept_vl.metrics.vqa import (
    FEWEST_ANSWERS,
    averages,
    check_answers,
    flatten_whitespace,
    normalise_answer,
    process_punctuation,
    vqa_accuracy,
)
from dept_vl.registry import UnknownName, wanted_one_of

AUTO, VQA_ACCURACY, EXACT_MATCH, BEST_MATCH = "auto", "vqa_accuracy", "exact_match", "best_match"
CHOSEN_BY_DATA = (VQA_ACCURACY, EXACT_MATCH, BEST_MATCH)
ANLS_THRESHOLD = 0.5
RELAXED_CHANGE = 0.05  # of the reference


class TooManyAnswers(ValueError):
    """Several references where the score is of one."""


def choose_score(numbers: Collection[int]) -> str:
    """The score for questions with these numbers of answers: vqa_accuracy where all have four or more, exact_match
    where all have one, else best_match. Raises: ValueError for no question."""
    if not numbers:
        raise ValueError("wanted at least one question to choose a score for, given none")
    if min(numbers) >= FEWEST_ANSWERS:
        return VQA_ACCURACY
    return EXACT_MATCH if max(numbers) == 1 else BEST_MATCH


@lru_cache(maxsize=1 << 16)
def normalise(text: str) -> str:
    """VQA's official normaliser. A text of which it leaves nothing keeps its articles, so that the choice "A" is not
    "the", or stays as it is in lower case ("...")."""
    bare = process_punctuation(flatten_whitespace(text)).strip().lower()
    return normalise_answer(text) or bare or text.strip().lower()


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1.0 where both are the same after `normalise`. Raises: TooManyAnswers unless there is one answer."""
    check_for(EXACT_MATCH, answers)
    return best_match(prediction, answers)


def best_match(prediction: str, answers: Sequence[str]) -> float:
    """1.0 where the prediction is one of the answers after `normalise`."""
    given = normalise(prediction)
    return float(any(normalise(answer) == given for answer in answers))


def anls(prediction: str, answers: Sequence[str]) -> float:
    """The best normalised Levenshtein similarity, 0.0 below the threshold. Two empty texts are alike."""
    best = max(_similarity(prediction, answer) for answer in answers)
    return best if best >= ANLS_THRESHOLD else 0.0


def relaxed_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """1.0 where one of the answers is met within 5 %, or letter by letter in any case."""
    return float(any(_relaxed(prediction, answer) for answer in answers))


def edit_distance(first: str, second: str) -> int:
    """Levenshtein's: the fewest characters to insert, delete or replace."""
    row = list(range(len(second) + 1))  # distances of the first's beginning to every beginning of the second
    for place, letter in enumerate(first, 1):
        above, row[0] = row[0], place
        for column, other in enumerate(second, 1):
            above, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, above + (letter != other))
    return row[-1]


SCORES: dict[str, Callable[[str, Sequence[str]], float]] = {
    VQA_ACCURACY: vqa_accuracy,
    EXACT_MATCH: exact_match,
    BEST_MATCH: best_match,
    "token_f1": squad.f1,
    "anls": anls,
    "relaxed_accuracy": relaxed_accuracy,
}
"""Score by name: a prediction and the references of its question to a fraction from 0 to 1."""

_PROTOCOLS = {
    EXACT_MATCH: "one answer, VQA's normalisation",
    BEST_MATCH: "best of the answers, VQA's normalisation",
    "token_f1": "best of the answers, SQuAD's normalisation",
    "anls": f"best of the answers, lower case, threshold {ANLS_THRESHOLD}",
    "relaxed_accuracy": f"best of the answers, numbers within {100 * RELAXED_CHANGE:g} %",
}


def answer_score(score: str, prediction: str, answers: Sequence[str], protocol: str = "official-2021") -> float:
    """One answer's worth under a score of SCORES. protocol: VQA accuracy's; no other score has a choice of them."""
    if score == VQA_ACCURACY:
        return vqa_accuracy(prediction, answers, protocol)
    return SCORES[score](prediction, answers)


def score_answers(
    score: str,
    predictions: Mapping[ItemId, str],
    answers: Mapping[ItemId, Sequence[str]],
    question_types: Mapping[ItemId, str | None],
    answer_types: Mapping[ItemId, str | None],
    protocol: str = "official-2021",
) -> dict[str, Any]:
    """The mean under the score's own name, `protocol`, `by_answer_type` and `by_question_type`, all as fractions.

    score: one of SCORES, or auto. protocol: VQA accuracy's. A question without a type counts in the mean only; the
    order of the mappings changes no bit.

    Raises: MissingPrediction unless predictions and answers have the same ids; TooFewAnswers, TooManyAnswers,
        UnknownName.
    """
    check_ids(predictions, answers, "question")
    if score == AUTO:
        score = choose_score({len(each) for each in answers.values()})
    for each in answers.values():
        check_for(score, each)
    values = {key: answer_score(score, predictions[key], answers[key], protocol) for key in in_order(answers)}
    named = protocol if score == VQA_ACCURACY else _PROTOCOLS[score]
    return averages(score, values, named, answer_types, question_types)


def check_score(score: str) -> None:
    """Raises: UnknownName for a name that is neither a score nor auto."""
    if score not in (AUTO, *SCORES):
        raise UnknownName(f"score: {wanted_one_of((AUTO, *SCORES), score)}")


def check_for(score: str, answers: Sequence[str]) -> None:
    """Raises: TooFewAnswers, TooManyAnswers where a question's answers cannot be scored so; UnknownName."""
    check_score(score)
    check_answers(answers, FEWEST_ANSWERS if score == VQA_ACCURACY else 1)
    if score == EXACT_MATCH and len(answers) > 1:
        raise TooManyAnswers(
            f"exact_match: wanted one reference answer to each question, given {len(answers)} ({answers!r:.80}); "
            "best_match takes the best of several"
        )


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


@lru_cache(maxsize=1 << 16)
def _similarity(prediction: str, answer: str) -> float:
    """The lengths are of the texts as they are given, in capitals ("ß" is two), as in the program."""
    first, second = _plain(prediction), _plain(answer)
    longer = max(len(prediction.upper()), len(answer.upper()))
    if first == second:
        return 1.0
    if abs(len(first) - len(second)) > longer * (1 - ANLS_THRESHOLD):  # so much has to be inserted: too far already
        return 0.0
    return 1 - edit_distance(first, second) / longer


def _relaxed(prediction: str, answer: str) -> bool:
    given, wanted = _number(prediction), _number(answer)
    if given is not None and wanted:
        return abs(given - wanted) / abs(wanted) <= RELAXED_CHANGE
    return prediction.strip().lower() == answer.strip().lower()


def _number(text: str) -> float | None:
    """The number that a text is, a percentage as its hundredth; None for other texts, "nan" and "inf" among them."""
    text = text.strip()
    try:
        value = float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
