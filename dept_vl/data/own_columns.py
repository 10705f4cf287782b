"""Which column of a user's file holds which field of a text task, and what a cell says."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dept_vl.registry import did_you_mean
from dept_vl.tasks.own_text import SOURCE, TARGET
from dept_vl.untrusted.bad_file import BadFile

USUAL_NAMES = {
    SOURCE: ("source", "text", "input", "sentence", "prompt", "instruction", "question", "document"),
    TARGET: ("target", "label", "labels", "output", "answer", "answers", "response", "completion", "summary", "class"),
}
"""Names of columns that are recognised, whatever their case, the first of them that is there."""

ID, SPLIT = "id", "split"
"""Fields that a file may have beside those of the task."""


class BadCell(BadFile):
    """A cell that cannot be used. where: "line 3"."""

    def __init__(self, file: Path | str, column: str, where: str, wanted: str, given: str) -> None:
        super().__init__(file, f"{wanted} in column {column!r} of {where}", given)
        self.args = (file, column, where, wanted, given)  # what pickle rebuilds it from
        self.column, self.where, self.reason = column, where, f"wanted {wanted}, given {given}"


def find_columns(
    path: Path, rows: Sequence[Mapping[str, Any]], fields: Sequence[str], given: Mapping[str, str]
) -> dict[str, str]:
    """Field to column: what `given` says, else the column of the field's own name, else one of its usual names. An
    empty name in `given` leaves the field without one.

    Raises: BadFile for a field without a column, a column that no row has, or an unknown field.
    """
    there = list(dict.fromkeys(name for row in rows for name in row))
    known = (*fields, ID, SPLIT)
    if unknown := [name for name in given if name not in known]:
        raise BadFile(path, f"task.columns of {', '.join(known)}", f"{unknown[0]!r}.{did_you_mean(unknown[0], known)}")
    for name, column in given.items():
        if column and column not in there:
            shown = f"{', '.join(there):.200}.{did_you_mean(column, there)}"
            raise BadFile(path, f"the column {column!r} (task.columns.{name})", shown)
    lower = {name.lower(): name for name in reversed(there)}
    named: dict[str, str] = {}
    for name in known:
        taken = {*given.values(), *named.values()}
        names = (lower.get(each) for each in (name.lower(), *USUAL_NAMES.get(name, ())))
        column = given[name] if name in given else next((each for each in names if each and each not in taken), None)
        if column:
            named[name] = column
        elif name in fields:
            usual = " or ".join(map(repr, dict.fromkeys((name, *USUAL_NAMES.get(name, ())[:3]))))
            shown = f"{', '.join(there):.200}.{did_you_mean(name, there)}"
            raise BadFile(path, f"a column for {name!r}: {usual}, or one named by task.columns.{name}", shown)
    return named


def cell_text(path: Path, where: str, column: str, value: Any) -> str:
    """A cell as text, stripped; numbers as they are written, truth values as JSON has them. where: "line 3".

    Raises: BadCell for an empty one, NaN, or a list where one text is wanted.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and math.isfinite(value):  # a table with gaps has 3.0 for 3
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str) and value.strip():
        return value.strip()
    kind = "" if isinstance(value, str | float) else f" ({type(value).__name__})"
    shown = "nothing" if value in (None, "") else f"{value!r:.80}{kind}"
    raise BadCell(path, column, where, "a text", shown)
