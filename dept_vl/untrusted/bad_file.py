"""The error of every reader here: a file that is not what it should be."""

from collections.abc import Iterable
from pathlib import Path


class BadFile(ValueError):
    """A file is not what it should be: names the file, the wanted and the given."""

    def __init__(self, file: Path | str, wanted: str, given: str) -> None:
        super().__init__(file, wanted, given)
        self.file, self.wanted, self.given = file, wanted, given

    def __str__(self) -> str:
        return f"{self.file}: wanted {self.wanted}, given {self.given}"


def reason_of(error: BaseException) -> str:
    """What a library's error says in its first line that is not blank, at most 300 characters; its type's name where it
    says nothing."""
    lines = filter(None, map(str.strip, str(error).splitlines()))
    return next(lines, type(error).__name__)[:300]


def listed(items: Iterable[object], show: int = 5) -> str:
    """`1,204 (3, 5, 8, ...)`: how many there are and which come first."""
    items = list(items)
    names = ", ".join(repr(item) for item in items[:show])
    return f"{len(items):,} ({names}{', ...' if len(items) > show else ''})" if items else "0"
