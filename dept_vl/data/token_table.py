"""Token ids of many texts in one flat array, so that they cost four bytes a token and pickle fast."""

from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import numpy as np

Rows = Sequence[int] | np.ndarray


class TokenTable:
    """Rows of token ids of any length, in one flat int32 array.

    counts, filled while `rows` are read: "cut", how many of them were longer than allowed; "context_cut", those that
    lost tokens of their context only; "beyond_context_cut", those that lost their whole context and more. A text
    without a context counts in "cut" alone. spans [row, 2]: where a row's own text begins and ends among its tokens, if
    a chat template stands around it.
    """

    def __init__(self, rows: Iterable[Rows], counts: Counter[str] | None = None) -> None:
        flat, lengths = array("i"), array("i")  # filled row by row, so that `rows` need never be in memory together
        for row in rows:
            flat.extend(row)
            lengths.append(len(row))
        self.lengths = np.array(lengths, dtype=np.int32)
        self._ends = np.cumsum(self.lengths, dtype=np.int64)
        self._flat = np.array(flat, dtype=np.int32)
        self.counts = Counter() if counts is None else counts
        self.spans: np.ndarray | None = None

    @classmethod
    def of(
        cls, flat: np.ndarray, lengths: np.ndarray, counts: Counter[str], spans: np.ndarray | None = None
    ) -> "TokenTable":
        """The table whose rows, one behind the other, are `flat`."""
        table = cls((), counts)
        table._flat, table.lengths, table.spans = flat, lengths, spans
        table._ends = np.cumsum(lengths, dtype=np.int64)
        return table

    @property
    def flat(self) -> np.ndarray:
        """All rows one behind the other, int32."""
        return self._flat

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, row: int | np.integer) -> np.ndarray:
        end = self._ends[row]
        return self._flat[end - self.lengths[row] : end]

    def rows_with(self, ids: Collection[int], more_than: int = 0) -> list[int]:
        """The rows with `more_than` so many tokens among `ids`, in order."""
        there = np.zeros(len(self._flat), dtype=bool)
        for id in ids:
            there |= self._flat == id
        counts = np.bincount(np.searchsorted(self._ends, np.flatnonzero(there), side="right"), minlength=len(self))
        return np.flatnonzero(counts > more_than).tolist()

    def padded(self, rows: Rows, fill: int) -> np.ndarray:
        """Those rows, right-padded with `fill` to the longest of them: int64 [len(rows), longest]."""
        out = np.full((len(rows), int(self.lengths[rows].max())), fill, dtype=np.int64)
        for place, row in enumerate(rows):
            out[place, : self.lengths[row]] = self[row]
        return out
