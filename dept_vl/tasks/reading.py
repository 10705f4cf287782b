"""Questions about a passage: the text that MRQA and SQuAD share, padded as published or plain.

Published runs read what T5's preprocessing makes of a text: a space is put around every character that is no letter,
number, combining mark, underscore or white space, then white space is collapsed ("the U.S.?" gives "the U . S . ?").
They train on, and are scored against, the first gold answer alone, padded likewise: "U.S." is scored as two words,
"u s". Official scoring takes all gold answers, as they stand.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from dept_vl.metrics.squad import answer_scores
from dept_vl.tasks.source import Row, Source, Splits
from dept_vl.tasks.text_task import Answer, TextTask

_OTHER = re.compile(r"[^\w\s]")  # \w is the letters, the numbers and the underscore; combining marks are left to a look


def pad_punctuation(text: str) -> str:
    """The text with a space on both sides of each mark, single spaces, and none at its ends."""
    return " ".join(_OTHER.sub(_padded, text).split())


def padded_fields(row: Row) -> Mapping[str, str]:
    """The template's values, padded."""
    return {name: pad_punctuation(row[name]) for name in ("question", "context")}


def first_padded(task: TextTask, row: Row) -> Answer:
    """A task's `answers`: the first gold answer, padded, is the target and the only reference."""
    first = tuple(map(pad_punctuation, _golds(row)[:1]))
    return Answer(first, first)


def all_plain(task: TextTask, row: Row) -> Answer:
    """A task's `answers`: the first gold answer is the target, every one a reference."""
    golds = _golds(row)
    return Answer(golds[:1], golds)


def reading_task(name: str, source: Source, splits: Splits, **changes: Any) -> TextTask:
    """A task of questions about a passage; `changes` are to what MRQA's sets and SQuAD have in common."""
    common: dict[str, Any] = {
        "selecting": ("f1", "exact_match"),
        "scores": answer_scores,
        "protocols": {"as_published": {}, "official_dev": {"fields": None, "answers": all_plain}},
        "fields": padded_fields,
        "answers": first_padded,
        "max_source_length": 512,
        # Answers average 2 to 5 words (DePT, Table 9), but many are twice as long and padding makes pieces of their
        # marks, so 10 would cut them; published runs generated up to 20.
        "max_target_length": 32,
    }
    return TextTask(name, source, splits, "question: {question} context: {context}", "context", **common | changes)


def _golds(row: Row) -> tuple[str, ...]:
    """The gold answers of a row that are not blank, best first: MRQA has a list of them, SQuAD a mapping."""
    golds = row["answers"]
    texts = golds["text"] if isinstance(golds, Mapping) else golds
    return tuple(stripped for gold in texts if (stripped := gold.strip()))


def _padded(found: re.Match[str]) -> str:
    mark = found[0]
    return mark if unicodedata.category(mark).startswith("M") else f" {mark} "
