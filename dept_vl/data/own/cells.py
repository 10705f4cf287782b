"""Read the text of a cell: a question, an id, a split's name, one answer or a list of them."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from dept_vl.data.own.bad_rows import BadCell
from dept_vl.registry import wanted_one_of

SPLITS: Mapping[str, str] = {
    "train": "train", "training": "train", "restval": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val", "eval": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
"""What splits are called, and which of train, val and test each is."""

_ABSENT = ("nan", "null", "<na>")  # what a table of text has for a value that is not there
_LONGEST_LIST = 100_000  # characters of a cell that may be a list written by Python
_NO_COMMA = re.compile(r"""['"]\s+['"]""")


def is_missing(value: Any, *, delimited: bool = False) -> bool:
    """Whether a cell holds nothing: null, NaN, blanks, or in a delimited file the word for it."""
    if isinstance(value, str):
        return not value.strip() or (delimited and value.strip().lower() in _ABSENT)
    return value is None or (isinstance(value, float) and math.isnan(value))


def text_of(value: Any, meaning: str, *, delimited: bool = False) -> str:
    """The text of a cell, stripped. Raises: BadCell."""
    if not isinstance(value, str) or is_missing(value, delimited=delimited):
        raise BadCell(meaning, "text", described(value, delimited=delimited))
    return value.strip()


def texts_of(value: Any, meaning: str, *, delimited: bool = False) -> tuple[str, ...]:
    """One or more texts: a string, a number, {meaning: ...}, or a list of these; in a delimited file also a list as
    JSON or Python writes it. Raises: BadCell."""
    if delimited and isinstance(value, str):
        value = _list_in(value, meaning)
    if not isinstance(value, list | tuple):
        return (one_text(value, meaning, delimited),)
    if not value:
        raise BadCell(meaning, "at least one", "an empty list")
    return tuple(one_text(each, meaning, delimited) for each in value)


def id_of(value: Any) -> int | str:
    """Raises: BadCell."""
    if isinstance(value, float) and value.is_integer():  # a table with gaps has 3.0 for 3
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | str) or is_missing(value):
        raise BadCell("id", "a whole number or text", described(value))
    return value


def split_of(value: Any) -> str:
    """train, val or test. Raises: BadCell for another name."""
    name = text_of(value, "split").lower()
    if name not in SPLITS:
        wanted, given = wanted_one_of(SPLITS, name).removeprefix("wanted ").split(", given ", 1)
        raise BadCell("split", f"{wanted} (or --task.columns.split '' to leave the column unread)", given)
    return SPLITS[name]


def described(value: Any, *, delimited: bool = False) -> str:
    """What an error says of a value."""
    if value is None:
        return "nothing"
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, str):
        return repr(value[:80]) if not is_missing(value, delimited=delimited) or value.strip() else "an empty cell"
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    if isinstance(value, list | tuple):
        return f"a list: {value!r:.80}"
    if isinstance(value, Mapping):
        return f"an object: {dict(value)!r:.80}"
    return f"{value!r:.80} ({type(value).__name__})"


def one_text(value: Any, meaning: str, delimited: bool = False) -> str:
    """A text, a number, or an object with one of them. Raises: BadCell."""
    if isinstance(value, Mapping):  # as VQA v2 has it: {"answer": "yes", "answer_confidence": "maybe"}
        names = [name for name in (meaning.removesuffix("s"), meaning, "raw", "text") if name in value]
        if not names:
            raise BadCell(meaning, f"text, or an object with {meaning.removesuffix('s')!r}", described(value))
        value = value[names[0]]
    if isinstance(value, bool):
        raise BadCell(meaning, "text, such as yes or no", described(value))
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    if isinstance(value, int):
        return str(value)
    return text_of(value, meaning, delimited=delimited)


def _list_in(cell: str, meaning: str) -> str | list[Any]:
    """The list that a cell holds; the cell itself, where it does not read as one."""
    text = cell.strip()
    if text.startswith(("['", '["')) and not text.endswith("]"):
        raise BadCell(meaning, "a whole list", f"one that is cut: {text:.80}")
    if not (text.startswith("[") and text.endswith("]")):
        return cell
    try:
        return msgspec.json.decode(text, type=list)
    except (msgspec.DecodeError, RecursionError):
        pass
    if _NO_COMMA.search(text):
        raise BadCell(meaning, "a list with commas, as JSON writes it", f"one without, as numpy prints it: {text:.80}")
    try:
        value = ast.literal_eval(text) if len(text) <= _LONGEST_LIST else cell
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return cell
    return value if isinstance(value, list) else cell
