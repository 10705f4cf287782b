"""VQA accuracy (Antol et al., ICCV 2015; Goyal et al., CVPR 2017), as the official evaluator counts it.

    accuracy = mean over the k annotators of  min(1, matches among the other k - 1 / 3)

The rules are those of https://github.com/GT-Vision-Lab/VQA (BSD-2), PythonEvaluationTools/vqaEval.py at
commit a013f00, its odd corners included; the code is ours. What is compared depends on the protocol:

| protocol      | prediction                                    | ten answers                             |
|---------------|-----------------------------------------------|-----------------------------------------|
| official-2021 | normalised unless the ten answers are equal   | the same                                |
| official-2017 | always normalised                             | punctuation only, unless they are equal |
| always        | always normalised                             | always normalised                       |

official-2017 is what most published prompt-tuning numbers were made with; it scores the prediction "two"
against ten times "two" as 0.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from dept_vl.metrics.ids import ItemId
from dept_vl.registry import UnknownName, wanted_one_of

PROTOCOLS = ("official-2021", "official-2017", "always")
FEWEST_ANSWERS = 4  # with k of them a perfect prediction gets min(1, (k - 1) / 3)

_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_DIGIT_COMMA_DIGIT = re.compile(r"\d,\d")
# The official pattern means to spare a period after a digit as well, but its look-behind is mistyped.
_PERIOD = re.compile(r"\.(?!\d)")
# The official call passes re.UNICODE where `count` belongs, so it stops after that many periods.
_MOST_PERIODS = int(re.UNICODE)

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBERS)} | {"none": "0"}
_ARTICLES = ("a", "an", "the")

# Every contraction that the official map can produce. Its keys are these words with any one apostrophe left
# out ("couldn't've": "couldnt've", "couldn'tve"); its capital keys ("Im") never meet lower-cased words.
_CONTRACTED = """
ain't aren't can't couldn't didn't doesn't don't hadn't hasn't haven't isn't mightn't mustn't needn't oughtn't
shan't shouldn't wasn't weren't won't wouldn't
could've might've must've not've should've they've we've what've where've who've would've you've
couldn't've hadn't've mightn't've shouldn't've wouldn't've
he'd how'd it'd someone'd something'd there'd they'd where'd who'd you'd
he'd've it'd've she'd've somebody'd've someone'd've something'd've there'd've they'd've we'd've who'd've
you'd've
how'll it'll somebody'll someone'll something'll they'll what'll who'll why'll you'll
there're they're what're why're you're
he's how's somebody's someone's that's there's what's when's where's who's why's
ma'am o'clock y'all y'all'll y'all'd've 'twas 'ow's'at
""".split()


class TooFewAnswers(ValueError):
    """A question with so few reference answers that the official accuracy cannot reach 1."""


def _contractions() -> dict[str, str]:
    places = ((word, i) for word in _CONTRACTED for i, letter in enumerate(word) if letter == "'")
    # The last entry stands the wrong way round in the official map.
    return {word[:i] + word[i + 1 :]: word for word, i in places} | {"somebody'd": "somebodyd"}


_CONTRACTIONS = _contractions()


def flatten_whitespace(text: str) -> str:
    """Newlines and tabs become spaces, the ends are stripped: the first step, under every protocol."""
    return text.replace("\n", " ").replace("\t", " ").strip()


def process_punctuation(text: str) -> str:
    """Marks are deleted where the text has them next to a space, or has digit,comma,digit anywhere, and
    otherwise become a space; periods go unless a digit follows. "t-shirt" gives "t shirt", "1,000" "1000"."""
    number = _DIGIT_COMMA_DIGIT.search(text) is not None
    cleaned = text
    for mark in _MARKS:
        if mark in text:
            alone = number or f"{mark} " in text or f" {mark}" in text
            cleaned = cleaned.replace(mark, "" if alone else " ")
    return _PERIOD.sub("", cleaned, count=_MOST_PERIODS)


def normalise_answer(text: str) -> str:
    """The full official normaliser: whitespace, punctuation, lower case, number words ("none" is 0), no
    articles, apostrophes put back. May be empty ("the"). Normalising twice may differ from once."""
    words = process_punctuation(flatten_whitespace(text)).lower().split()
    digits = (_DIGITS.get(word, word) for word in words)
    return " ".join(_CONTRACTIONS.get(word, word) for word in digits if word not in _ARTICLES)


def vqa_accuracy(prediction: str, answers: Sequence[str], protocol: str = "official-2021") -> float:
    """Accuracy of one prediction as a fraction; with ten answers it is 0, 0.3, 0.6, 0.9 or 1.

    Raises: TooFewAnswers; UnknownName for a protocol outside PROTOCOLS.
    """
    check_protocol(protocol)
    check_answers(answers)
    if protocol == "official-2017":
        given = normalise_answer(prediction)
        counts = Counter(answers)
        compared = process_punctuation if len(counts) > 1 else str
    else:
        counts = Counter(flatten_whitespace(answer) for answer in answers)
        compared = normalise_answer if protocol == "always" or len(counts) > 1 else str
        given = compared(flatten_whitespace(prediction))
    return leave_one_out(sum(n for answer, n in counts.items() if compared(answer) == given), len(answers))


def averages(
    score: str,
    values: Mapping[ItemId, float],
    protocol: str,
    answer_types: Mapping[ItemId, str | None],
    question_types: Mapping[ItemId, str | None],
) -> dict[str, Any]:
    """The mean of the questions' values under the score's name, its protocol, and the means by type."""
    return {
        score: mean(list(values.values())),
        "protocol": protocol,
        "by_answer_type": by_type(values, answer_types),
        "by_question_type": by_type(values, question_types),
    }


def leave_one_out(matches: int, annotators: int) -> float:
    """The accuracy of an answer that so many of the annotators gave. Whole numbers until the last division, so that
    0.3 is exactly 0.3."""
    thirds = matches * min(matches - 1, 3) + (annotators - matches) * min(matches, 3)
    return thirds / (3 * annotators)


def by_type(accuracy: Mapping[ItemId, float], types: Mapping[ItemId, str | None]) -> dict[str, float]:
    """The means of the questions of each type, by name; questions without a type are in none."""
    groups: defaultdict[str, list[float]] = defaultdict(list)
    for key, value in accuracy.items():
        kind = types.get(key)
        if kind is not None:
            groups[kind].append(value)
    return {kind: mean(groups[kind]) for kind in sorted(groups)}


def mean(values: Sequence[float]) -> float:
    """Rounded once, so that no order of the values changes it."""
    return math.fsum(values) / len(values)


def check_protocol(protocol: str) -> None:
    if protocol not in PROTOCOLS:
        raise UnknownName(f"VQA protocol: {wanted_one_of(PROTOCOLS, protocol)}")


def check_answers(answers: Sequence[str], fewest: int = FEWEST_ANSWERS) -> None:
    """fewest: references that the score needs. Raises: TooFewAnswers, ValueError for one string in place of a list."""
    if isinstance(answers, str):
        raise ValueError(f"wanted a list of the annotators' answers, given {answers!r}")
    if len(answers) >= fewest:
        return
    number = f"{fewest} reference answer{'s' * (fewest > 1)}"
    given = f"wanted at least {number} to a question, given {len(answers)} ({answers!r:.80})"
    if fewest < FEWEST_ANSWERS:
        raise TooFewAnswers(given)
    raise TooFewAnswers(
        f"{given}: each answer is compared with the others, and three of these must agree with it for "
        "the full score, so fewer would score a perfect prediction below 1; give more (VQA v2 has ten), or each "
        f"answer {FEWEST_ANSWERS} times, which scores a prediction that equals any of them as 1, or ask for the score "
        "auto, which takes one for fewer"
    )
