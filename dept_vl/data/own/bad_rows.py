"""Rows that cannot be used: refused by file, line and column, or left out, counted and listed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from dept_vl.untrusted.bad_file import BadFile

_WAY_OUT = "--task.on_bad_row skip leaves such rows out and lists them"


class BadCell(ValueError):
    """A value of a row that is not what its meaning asks for; who reads the row knows the file, line and column."""

    def __init__(self, meaning: str, wanted: str, given: str) -> None:
        super().__init__(meaning, wanted, given)
        self.meaning, self.wanted, self.given = meaning, wanted, given

    def __str__(self) -> str:
        return f"{self.meaning}: wanted {self.wanted}, given {self.given}"


class UnusableRow(BadFile):
    """A row that cannot be used, where none may be left out."""


class BadRows:
    """What becomes of rows that cannot be used.

    on_bad_row: error raises at the first, skip keeps file, place ("line 3"), column and reason of each in `skipped`.
    """

    def __init__(self, on_bad_row: Literal["error", "skip"] = "error") -> None:
        self._skips = on_bad_row == "skip"
        self.skipped: list[Mapping[str, str | None]] = []

    def add(self, file: Path | str, place: str, columns: Mapping[str, str], error: BadCell | BadFile) -> None:
        """columns: meaning to column. Raises: UnusableRow."""
        column, where = None, f"{file}, {place}"
        if isinstance(error, BadCell):
            column = columns.get(error.meaning, error.meaning)
            where += f", column {column!r}"
        if not self._skips:
            raise UnusableRow(where, error.wanted, f"{error.given} ({_WAY_OUT})") from error
        reason = f"wanted {error.wanted}, given {error.given}"
        self.skipped.append({"file": str(file), "place": place, "column": column, "reason": reason})
