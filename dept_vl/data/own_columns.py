"""Which column of a user's file holds which field of a text task."""

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
