"""Read one file of rows as dicts: tsv, csv, txt, JSON lines, one JSON document or parquet, each also as .gz.

Tab-separated files have no quoting, as GLUE's have none: a quotation mark is a character of the text. A .txt file is
JSON lines where it starts with a brace (SciTail's are), tab-separated otherwise (MRPC's). Values stay as the file has
them, in delimited files all strings.
"""

from __future__ import annotations

import array
import csv
import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dept_vl.registry import did_you_mean
from dept_vl.untrusted.bad_file import BadFile
from dept_vl.untrusted.gzip_bytes import fair_size, read_bytes
from dept_vl.untrusted.json_files import decode_json


@dataclass(frozen=True)
class FileRows:
    """rows: what the file holds. lines: on which line of the file each ends, () where a file has none. short: how many
    lines of a delimited file have fewer cells than columns. first_short: the first of them, as an error.

    The caller decides about `short`: GLUE's own QQP file has such lines, in any other file they are a sign of a cut.
    """

    rows: list[dict[str, Any]]
    lines: Sequence[int] = ()
    short: int = 0
    first_short: BadFile | None = None

    def where(self, place: int) -> str:
        """ "line 3" or, of a file without lines, "row 3", counted from 1: for an error about the row at `place`."""
        return f"line {self.lines[place]:,}" if self.lines else f"row {place + 1:,}"


def read_rows(path: Path, columns: tuple[str, ...] = ()) -> FileRows:
    """The rows of one file, in order.

    columns: the names of a delimited file's columns, () where its first line has them. A first line that repeats them
    is a header too.
    Raises: BadFile naming the file, and the line where there is one.
    """
    ending = Path(path.name.removesuffix(".gz")).suffix
    if ending not in _READERS:
        wanted = f"a name that ends in one of {', '.join(_READERS)} (or that and .gz)"
        raise BadFile(path, wanted, f"{ending or 'no ending'!r}.{did_you_mean(ending, _READERS)}")
    found = _READERS[ending](path, columns)
    if not found.rows and not found.short:
        raise BadFile(path, "at least one row", "an empty file")
    return found


def _text(path: Path) -> str:
    """The text without its byte order mark and without the line ends at its end."""
    data = read_bytes(path)
    try:
        return data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadFile(path, f"UTF-8 text in line {line:,}", f"bytes that are not ({error.reason})") from error


def _tab_separated(path: Path, columns: tuple[str, ...]) -> FileRows:
    text = _text(path)
    lines = enumerate(text.split("\n") if text else (), 1)
    return _table(path, columns, ((number, line.removesuffix("\r").split("\t")) for number, line in lines))


def _comma_separated(path: Path, columns: tuple[str, ...]) -> FileRows:
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)

    def lines() -> Iterator[tuple[int, list[str]]]:
        try:
            for cells in reader:
                yield reader.line_num, cells
        except csv.Error as error:
            raise BadFile(path, f"comma-separated cells in line {reader.line_num:,}", f"{error}") from error

    return _table(path, columns, lines())


def _table(path: Path, columns: tuple[str, ...], lines: Iterator[tuple[int, list[str]]]) -> FileRows:
    place, first = next(lines, (1, []))
    names = columns or tuple(first)
    if len(set(names)) < len(names):
        raise BadFile(path, "columns of different names in line 1", f"{', '.join(names):.200}")
    rows: list[dict[str, Any]] = []
    ends = array.array("L")
    short, first_short = 0, None
    is_row = bool(first) and list(names) != first
    for number, cells in itertools.chain([(place, first)] if is_row else [], lines):
        if len(cells) == len(names):
            rows.append(dict(zip(names, cells, strict=True)))
            ends.append(number)
            continue
        wanted = f"{len(names)} cells in line {number:,} ({', '.join(names):.200})"
        wrong = BadFile(path, wanted, f"{len(cells)}: {' | '.join(cells)!r:.80}")
        if len(cells) > len(names):
            raise wrong
        short, first_short = short + 1, first_short or wrong
    return FileRows(rows, ends, short, first_short)


def _tabs_or_json_lines(path: Path, columns: tuple[str, ...]) -> FileRows:
    return (_json_lines if _text(path).startswith("{") else _tab_separated)(path, columns)


def _json_lines(path: Path, columns: tuple[str, ...]) -> FileRows:
    data = read_bytes(path).rstrip(b"\r\n")
    lines = enumerate(data.split(b"\n") if data else (), 1)
    rows = [decode_json(path, line, dict[str, Any], f" in line {number:,}") for number, line in lines]
    return FileRows(rows, range(1, len(rows) + 1))


def _json_document(path: Path, columns: tuple[str, ...]) -> FileRows:
    """An array of rows; or the one object that SQuAD's file is, for `Source.unfold`."""
    data = read_bytes(path).strip()
    value = decode_json(path, data, list[dict[str, Any]] | dict[str, Any]) if data else []
    return FileRows(value if isinstance(value, list) else [value])


def _parquet(path: Path, columns: tuple[str, ...]) -> FileRows:
    import pyarrow.parquet  # here, since no other file needs it and it is slow to import

    try:
        data = read_bytes(path)
        file = pyarrow.parquet.ParquetFile(io.BytesIO(data))
        held, most = _claimed_size(file.metadata), fair_size(len(data))
        rows: list[dict[str, Any]] = []
        for batch in file.iter_batches(_BATCH) if held <= most else ():
            held += max(batch.nbytes, _CELL * batch.num_rows * (1 + batch.num_columns))
            if held > most:
                break
            rows.extend(batch.to_pylist())
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise BadFile(path, "a whole parquet file", f"{reason:.200}") from error
    if held > most:
        given = f"one that unpacks to more than {most:,} bytes, {len(data):,} packed"
        raise BadFile(path, "a parquet file of a fair size", given)
    return FileRows(rows)


def _claimed_size(metadata: Any) -> int:
    """The greater of the bytes and the cells that a parquet file says it holds: equal values take next to nothing."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    columns = [group.column(number) for group in groups for number in range(group.num_columns)]
    return max(sum(column.total_uncompressed_size for column in columns), sum(column.num_values for column in columns))


_BATCH = 64  # rows of a parquet file that are unpacked at a time
_CELL = 8  # bytes that a value counts at least, as a row of Python takes more than its bits

_READERS: dict[str, Callable[[Path, tuple[str, ...]], FileRows]] = {
    ".tsv": _tab_separated,
    ".csv": _comma_separated,
    ".txt": _tabs_or_json_lines,
    ".jsonl": _json_lines,
    ".json": _json_document,
    ".parquet": _parquet,
}
