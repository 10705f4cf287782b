"""One file of rows, whatever its format: its columns, its rows with their places, and where its image paths start."""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dept_vl.data.encodings import spreadsheet_advice
from dept_vl.data.own.cells import is_missing
from dept_vl.data.text_files import parquet_rows, read_rows
from dept_vl.untrusted.bad_file import BadFile
from dept_vl.untrusted.gzip_bytes import read_bytes

ENDINGS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
Cells = Mapping[str, Any]
Rows = Iterable[tuple[int, Cells | BadFile]]
_OFFICIAL = ({"images", "annotations"}, {"questions"}, {"annotations"})  # keys of COCO's and VQA v2's documents


@dataclass(frozen=True)
class OwnTable:
    """rows: the number of each line or row, from 1, with its cells, or with what is wrong with the line. unit: line or
    row. folders: where a relative image path may start, the first one first. split: train, val or test, where the
    file's name says it. delimited: cells are text, with words for nothing. name: what ids begin with. notes: what a
    user should know of how the file was read."""

    file: Path | str
    columns: tuple[str, ...]
    rows: Callable[[], Rows]
    folders: tuple[Path, ...]
    name: str
    split: str | None = None
    unit: str = "row"
    delimited: bool = False
    notes: tuple[str, ...] = ()

    def place(self, number: int) -> str:
        return f"{self.unit} {number:,}"


def ending(path: Path) -> str:
    """`.csv` of rows.csv and of rows.csv.gz."""
    return Path(path.name.removesuffix(".gz")).suffix.lower()


def image_folders(folder: Path, image_root: Path | None = None) -> tuple[Path, ...]:
    return (*([] if image_root is None else [image_root]), folder, folder / "images")


def read_table(path: Path, *, root: Path, split: str | None = None, image_root: Path | None = None) -> OwnTable:
    """The table in one file below `root`. Raises: BadFile."""
    name = path.relative_to(root).as_posix().removesuffix(".gz").removesuffix(ending(path))
    if ending(path) not in ENDINGS:
        wanted = f"a name that ends in one of {', '.join(ENDINGS)} (or that and .gz)"
        advice = spreadsheet_advice(ending(path)) or "give a copy with the ending of its format"
        raise BadFile(path, wanted, f"{path.name!r}: {advice}")
    folders = image_folders(path.parent, image_root)
    if ending(path) == ".parquet":
        first = next(iter(parquet_rows(path)), None)
        if first is None:
            raise BadFile(path, "at least one row", "an empty file")
        return OwnTable(path, tuple(first), lambda: enumerate(_with_labels(path), 1), folders, name, split)
    refused: list[tuple[int, BadFile]] = []
    found = read_rows(path, refused=refused, quoted=True)
    if ending(path) == ".json" and len(found.rows) == 1 and read_bytes(path).lstrip().startswith(b"{"):
        raise _no_list(path, found.rows[0])
    delimited = ending(path) in (".csv", ".tsv")
    columns = tuple(dict.fromkeys(column for row in found.rows for column in row))
    numbers: Sequence[int] = found.lines or range(1, len(found.rows) + 1)
    rows: list[tuple[int, Cells | BadFile]] = list(
        heapq.merge(zip(numbers, found.rows, strict=True), refused, key=lambda each: each[0])
    )
    if not found.rows:
        raise refused[0][1]
    unit = "line" if found.lines else "row"
    table = OwnTable(path, columns, lambda: rows, folders, name, split, unit=unit, delimited=delimited)
    return shared_images(table) if delimited and {"index", "image"} <= set(columns) else table


def shared_images(table: OwnTable) -> OwnTable:
    """VLMEvalKit's way to save space: an image cell of up to 64 characters that is another row's index stands for that
    row's image."""
    rows = list(table.rows())
    images = {str(cells["index"]): cells["image"] for _, cells in rows if not isinstance(cells, BadFile)}

    def resolved(cells: Cells | BadFile) -> Cells | BadFile:
        if isinstance(cells, BadFile) or is_missing(cells["image"]) or len(cells["image"]) > 64:
            return cells
        other = images.get(cells["image"], "")
        return {**cells, "image": other} if len(other) > 64 else cells

    return dataclasses.replace(table, rows=lambda: ((number, resolved(cells)) for number, cells in rows))


def _with_labels(path: Path) -> Iterator[Cells]:
    """The rows of a parquet file, with the names of a ClassLabel in place of its numbers."""
    import pyarrow.parquet  # here, since it is slow to import

    rows = parquet_rows(path)
    metadata = pyarrow.parquet.read_schema(path).metadata or {} if path.suffix == ".parquet" else {}
    if b"huggingface" not in metadata:
        return rows
    import datasets

    features = datasets.Features.from_arrow_schema(pyarrow.parquet.read_schema(path))
    return labelled(rows, features)


def labelled(rows: Iterable[Cells], features: Mapping[str, Any]) -> Iterator[Cells]:
    """Rows of a data set of the library `datasets` with the names of their classes in place of numbers."""
    import datasets  # here, since it is slow to import

    classes = {name: each for name, each in features.items() if isinstance(each, datasets.ClassLabel)}
    for row in rows:
        named = {name: _name(each, row[name]) for name, each in classes.items() if isinstance(row.get(name), int)}
        yield {**row, **named} if named else row


def _name(classes: Any, number: int) -> str | None:
    return classes.int2str(number) if number >= 0 else None  # -1 is how a hidden label is written


def _no_list(path: Path, document: Cells) -> BadFile:
    """The error for one object in place of a list of rows, with a way out."""
    inside = [
        name for name, value in document.items() if isinstance(value, list) and value and isinstance(value[0], Mapping)
    ]
    if any(official <= set(document) for official in _OFFICIAL):
        hint = "in COCO's or VQA v2's form: give the folder that holds it under its official name"
    elif inside:
        hint = f"whose rows may stand under {inside[0]!r}: save that list alone"
    else:
        hint = "which is no list: put its rows between [ and ]"
    given = f"one object with {', '.join(document):.200}, {hint}, or give a recipe and its folder, as textvqa:FOLDER"
    return BadFile(path, "a JSON list of rows", given)
