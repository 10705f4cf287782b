"""Questions about a passage: the text that MRQA and SQuAD share, padded as published or plain.

Published runs read what T5's preprocessing makes of a text: a space is put around every character that is no letter,
number, combining mark, underscore or white space, then white space is collapsed ("the U.S.?" gives "the U . S . ?").
They train on, and are scored against, the first gold answer alone, padded likewise: "U.S." is scored as two words,
"u s". Official scoring takes all gold answers, as they stand.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence

from dept_vl.tasks.source import Row
from dept_vl.tasks.text_task import Answer, TextTask

TEMPLATE = "question: {question} context: {context}"
Golds = Callable[[Row], Sequence[str]]  # the gold answers of a row, best first

_OTHER = re.compile(r"[^\w\s]")  # \w is the letters, the numbers and the underscore; combining marks are left to a look


def pad_punctuation(text: str) -> str:
    """The text with a space on both sides of each mark, single spaces, and none at its ends."""
    return " ".join(_OTHER.sub(_padded, text).split())


def padded_fields(row: Row) -> Mapping[str, str]:
    """The template's values, padded."""
    return {name: pad_punctuation(row[name]) for name in ("question", "context")}


def first_padded(golds: Golds) -> Callable[[TextTask, Row], Answer]:
    """A task's `answers`: the first gold answer, padded, is the target and the only reference."""

    def answers(task: TextTask, row: Row) -> Answer:
        first = tuple(map(pad_punctuation, _usable(golds(row))[:1]))
        return Answer(first, first)

    return answers


def all_plain(golds: Golds) -> Callable[[TextTask, Row], Answer]:
    """A task's `answers`: the first gold answer is the target, every one a reference."""

    def answers(task: TextTask, row: Row) -> Answer:
        usable = _usable(golds(row))
        return Answer(tuple(usable[:1]), tuple(usable))

    return answers


def _usable(golds: Sequence[str]) -> list[str]:
    return [stripped for gold in golds if (stripped := gold.strip())]


def _padded(found: re.Match[str]) -> str:
    mark = found[0]
    return mark if unicodedata.category(mark).startswith("M") else f" {mark} "
