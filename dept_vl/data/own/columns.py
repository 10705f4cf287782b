"""Find out which column of a table is the image, the question, the answers or the captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from dept_vl.data.own_columns import Names, match_columns, missing_column

Family = Literal["vqa", "caption"]
_TEXT = ("text", "target", "output", "response")
USUAL: Names = {
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

_NEEDED = {"vqa": ("question", "answers"), "caption": ("captions",)}
_UNUSED = {"vqa": ("captions",), "caption": ("question", "answers", "question_type", "answer_type")}


def recognise(columns: Sequence[str], family: Family, given: Mapping[str, str], file: Path | str) -> dict[str, str]:
    """Meaning to column, for the meanings of this family that the table has.

    given: meaning to column, as the user says it; an empty name says that the table has none of it. Where a table has
    turns of a conversation, question and answers come from them unless it has both as columns too.
    Raises: BadFile for a meaning or a column that there is not, or a column that is missing.
    """
    usual = {meaning: names for meaning, names in USUAL.items() if meaning not in _UNUSED[family]}
    found = match_columns(columns, usual, given, file)
    needed = _NEEDED[family]
    if "turns" in found and (missing := [each for each in needed if each not in found]):
        found = {meaning: column for meaning, column in found.items() if meaning not in needed or meaning in given}
        needed = () if missing else needed
    elif "turns" in found:
        del found["turns"]
    for meaning in ("image", *needed):
        if meaning not in found and not (meaning == "image" and "turns" in found):  # messages may hold the image
            raise missing_column(meaning, USUAL[meaning], columns, found, file)
    return found
