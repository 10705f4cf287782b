"""Which column of a user's table holds what: named by the user, or recognised by its usual names."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

from dept_vl.registry import did_you_mean
from dept_vl.tasks.own_text import SOURCE, TARGET
from dept_vl.untrusted.bad_file import BadFile

Names = Mapping[str, Sequence[str]]
"""Meaning to the usual names of its column as `plain_name` has them, the likeliest first."""

TEXT_NAMES: Names = {
    SOURCE: ("source", "text", "input", "sentence", "prompt", "instruction", "question", "document"),
    TARGET: ("target", "label", "labels", "output", "answer", "answers", "response", "completion", "summary", "class"),
}

ID, SPLIT = "id", "split"
"""What a file of texts may have beside the fields of its task."""


def plain_name(column: str) -> str:
    """Without capitals, blanks and hyphens, which make no difference."""
    return column.strip().lower().replace(" ", "_").replace("-", "_")


def match_columns(columns: Sequence[str], usual: Names, given: Mapping[str, str], file: Path | str) -> dict[str, str]:
    """Meaning to column: what `given` says, else the first of its usual names that the table has and that stands for
    nothing else. An empty name in `given` leaves a meaning without a column.

    Raises: BadFile for a meaning or a column that there is not.
    """
    for meaning, column in given.items():
        if meaning not in usual:
            raise BadFile(file, f"task.columns of {', '.join(usual)}", f"{meaning!r}.{did_you_mean(meaning, usual)}")
        if column and column not in columns:
            shown = f"the columns {shown_columns(columns)}.{did_you_mean(column, columns)}"
            raise BadFile(file, f"the column {column!r} that task.columns.{meaning} names", shown)
    found = {meaning: column for meaning, column in given.items() if column}
    plain = {plain_name(column): column for column in reversed(columns)}
    for meaning, names in usual.items():
        if meaning not in given:
            free = (plain[name] for name in names if name in plain and plain[name] not in found.values())
            if (column := next(free, None)) is not None:
                found[meaning] = column
    return found


def missing_column(
    meaning: str, names: Sequence[str], columns: Sequence[str], found: Mapping[str, str], file: Path | str
) -> BadFile:
    """The error for a table in which `names` were not found; it proposes a column that stands for nothing else."""
    free = [column for column in columns if column not in found.values()]
    close = [each for each in free if difflib.get_close_matches(plain_name(each), names, n=1, cutoff=0.7)]
    hint = f"Did you mean {close[0]!r}? " if close else ""
    wanted = f"a column for the {meaning}, such as {', '.join(names[:4])}"
    advice = f"Say which it is: --task.columns.{meaning} {close[0] if close else 'NAME'}"
    return BadFile(file, wanted, f"the columns {shown_columns(columns)}. {hint}{advice}")


def find_columns(path: Path, columns: Sequence[str], fields: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Field of a text task to column, also that of the id and the split where the file has them.

    Raises: BadFile for a field without a column, a column that no row has, or an unknown field.
    """
    usual = {name: (plain_name(name), *TEXT_NAMES.get(name, ())) for name in (*fields, ID, SPLIT)}
    named = match_columns(columns, usual, given, path)
    for name in fields:
        if name not in named:
            raise missing_column(name, tuple(dict.fromkeys(usual[name])), columns, named, path)
    return {name: named[name] for name in usual if name in named}


def shown_columns(columns: Sequence[str]) -> str:
    return f"{', '.join(columns):.200}" or "(none)"
