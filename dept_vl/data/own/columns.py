"""Find out which column of a table is the image, the question, the answers or the captions."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from dept_vl.registry import did_you_mean, wanted_one_of
from dept_vl.untrusted.bad_file import BadFile

Family = Literal["vqa", "caption"]
_TEXT = ("text", "target", "output", "response")
USUAL: Mapping[str, tuple[str, ...]] = {
    "image": (
        "image", "image_path", "img", "img_path", "image_file", "file_name", "filename", "image_name", "filepath",
        "file", "path", "picture", "photo", "images", "image_id", "image_url", "url",
    ),
    "question": ("question", "query", "prompt", "instruction", "text", "input"),
    "answers": ("answers", "answer", "direct_answers", "label", "labels", *_TEXT[1:]),
    "captions": ("captions", "caption", "sentences", "sentence", "description", *_TEXT),
    "turns": ("conversations", "conversation", "messages", "texts"),
    "split": ("split",),
    "id": ("question_id", "id", "index", "qid", "uid"),
    "question_type": ("question_type",),
    "answer_type": ("answer_type",),
}  # fmt: skip
"""The usual names of each meaning, the likeliest first; capitals, blanks and hyphens make no difference."""

_NEEDED = {"vqa": ("question", "answers"), "caption": ("captions",)}
_UNUSED = {"vqa": ("captions",), "caption": ("question", "answers", "question_type", "answer_type")}


def recognise(columns: Sequence[str], family: Family, given: Mapping[str, str], file: Path | str) -> dict[str, str]:
    """Meaning to column, for the meanings of this family that the table has.

    given: meaning to column, as the user says it; an empty name says that the table has none of it. Where a table has
    turns of a conversation, question and answers come from them unless it has both as columns too.
    Raises: ValueError for a meaning that there is not; BadFile for a column that there is not, or that is missing.
    """
    meanings = [meaning for meaning in USUAL if meaning not in _UNUSED[family]]
    for meaning, column in given.items():
        if meaning not in meanings:
            raise ValueError(f"task.columns: {wanted_one_of(meanings, meaning)}")
        if column and column not in columns:
            given_columns = f"the columns {_listed(columns)}.{did_you_mean(column, columns)}"
            raise BadFile(file, f"the column {column!r} that task.columns.{meaning} names", given_columns)
    found = {meaning: column for meaning, column in given.items() if column}
    plain = {plain_name(column): column for column in reversed(columns)}
    for meaning in meanings:
        taken = set(found.values())
        if meaning not in given:
            names = (plain[name] for name in USUAL[meaning] if name in plain and plain[name] not in taken)
            if (usual := next(names, None)) is not None:
                found[meaning] = usual
    needed = _NEEDED[family]
    if "turns" in found and (missing := [each for each in needed if each not in found]):
        found = {meaning: column for meaning, column in found.items() if meaning not in needed or meaning in given}
        needed = () if missing else needed
    elif "turns" in found:
        del found["turns"]
    for meaning in ("image", *needed):
        if meaning not in found and not (meaning == "image" and "turns" in found):  # messages may hold the image
            raise BadFile(file, *_missing(meaning, columns, set(found.values())))
    return found


def _missing(meaning: str, columns: Sequence[str], taken: set[str]) -> tuple[str, str]:
    wanted = f"a column for the {meaning}, such as {', '.join(USUAL[meaning][:4])}"
    free = [column for column in columns if column not in taken]
    usual = USUAL[meaning]
    close = [column for column in free if difflib.get_close_matches(plain_name(column), usual, n=1, cutoff=0.7)]
    hint = f"Did you mean {close[0]!r}? " if close else ""
    column = close[0] if close else "NAME"
    return wanted, f"the columns {_listed(columns)}. {hint}Say which it is: --task.columns.{meaning} {column}"


def plain_name(column: str) -> str:
    """As USUAL has it: without capitals, blanks and hyphens."""
    return column.strip().lower().replace(" ", "_").replace("-", "_")


def _listed(columns: Sequence[str]) -> str:
    return f"{', '.join(columns):.200}" or "(none)"
