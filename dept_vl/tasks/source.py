"""Where the rows of a text task come from and how its splits are made: facts only, `data.text_sources` acts on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Files:
    """The official files of one split, read one after another.

    columns: the names of a delimited file's columns where its first line is already a row; () for a file with a
    header line, and for JSON and parquet.
    """

    names: tuple[str, ...]
    columns: tuple[str, ...] = ()


def either(*names: str, columns: tuple[str, ...] = ()) -> tuple[Files, ...]:
    """Alternatives of one file each."""
    return tuple(Files((name,), columns) for name in names)


@dataclass(frozen=True)
class Source:
    """A published set.

    folders: below the data root, where the official files may lie. files: split (named as on the hub) to alternatives,
    the first that is there is read. whole: rows of each published split, by which a whole set is known. home: where a
    person gets the official files. hub: the hub's data set, as parquet files, no loading script. subset: its
    configuration. unfold: an official record to rows with the hub's fields; a row that has them passes as it is.
    """

    folders: tuple[str, ...]
    files: Mapping[str, tuple[Files, ...]]
    home: str
    whole: Mapping[str, int] = field(default_factory=dict)
    hub: str | None = None
    subset: str | None = None
    unfold: Callable[[Row], Iterable[Row]] | None = None


@dataclass(frozen=True)
class Splits:
    """How train, val and test are made of the published splits.

    rule: "own": `val` and `test` are published splits. "halve": the published split `val` is permuted (torch.randperm,
    seed 42), its first half is val, the rest test. "from_train": train is permuted likewise, its first `held_out`
    rows (never more than a tenth) are val, `test` is a published split.
    together: what a row belongs to that "from_train" must not cut in two; whole ones are held out until there are
    `held_out` rows. most_train: so many of the remaining permuted training rows are kept. trained: which training rows
    are kept; None keeps all. sizes: examples of train, val and test that a whole set must come to (DePT's Table 9), or
    None where no paper states them.
    """

    rule: Literal["own", "halve", "from_train"]
    val: str = "validation"
    test: str = "validation"
    held_out: int = 1000
    together: Callable[[Row], str] | None = None
    most_train: int | None = None
    trained: Callable[[Row], bool] | None = None
    sizes: tuple[int, int, int] | None = None
