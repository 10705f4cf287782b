"""The rows that wait, oldest first, and which of them stand in the next batch. Holds no lock: `AnswerEngine` does."""

import dataclasses
from collections.abc import Iterable
from concurrent.futures import Future

from dept_vl.model import BankEntry
from dept_vl.serve.rows import Row, Together


@dataclasses.dataclass(eq=False)
class Request:
    """One caller's rows. answers: by the rows' places; left: how many are missing."""

    future: Future[list[str]]
    answers: list[str]
    left: int


@dataclasses.dataclass(frozen=True, eq=False)
class WaitingRow:
    """entry: the adapter that had the row's name when it came. since: when that was, as `time.monotonic` has it."""

    row: Row
    key: Together
    entry: BankEntry
    request: Request
    since: float


class WaitingRows:
    def __init__(self) -> None:
        self._rows: list[WaitingRow] = []

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def oldest(self) -> float:
        """Since when the first has waited."""
        return self._rows[0].since

    @property
    def futures(self) -> list[Future[list[str]]]:
        return [each.request.future for each in self._rows]

    def add(self, rows: Iterable[WaitingRow]) -> None:
        self._rows = [*self._rows, *rows]

    def drop(self, request: Request) -> None:
        self._rows = [each for each in self._rows if each.request is not request]

    def clear(self) -> None:
        self._rows = []

    def take(self, most: int) -> list[WaitingRow]:
        """The oldest row and up to `most` - 1 that may share its batch, which wait no more. Rows of two adapters that
        had one name in turn may not."""
        taken: list[WaitingRow] = []
        kept: list[WaitingRow] = []
        named: dict[str, BankEntry] = {}
        for each in self._rows:
            fits = len(taken) < most and each.key == self._rows[0].key
            if fits and named.setdefault(each.row.adapter, each.entry) is each.entry:
                taken.append(each)
            else:
                kept.append(each)
        self._rows = kept
        return taken
