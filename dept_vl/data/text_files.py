"""Read one file of rows as dicts: tsv, csv, txt, JSON lines, one JSON document or parquet, each also as .gz.

Tab-separated files have no quoting, as GLUE's have none: a quotation mark is a character of the text. A .txt file is
JSON lines where it starts with a brace (SciTail's are), tab-separated otherwise (MRPC's). Values stay as the file has
them, in delimited files all strings. A file that is not UTF-8 is refused with what it looks like.
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

from dept_vl.data.encodings import other_encoding, spreadsheet_advice
from dept_vl.registry import did_you_mean
from dept_vl.untrusted.bad_file import BadFile, reason_of
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


@dataclass(frozen=True)
class _Form:
    """How to read; see `read_rows`."""

    columns: tuple[str, ...] = ()
    refused: list[tuple[int, BadFile]] | None = None
    quoted: bool = False


def read_rows(
    path: Path,
    columns: tuple[str, ...] = (),
    *,
    refused: list[tuple[int, BadFile]] | None = None,
    quoted: bool = False,
) -> FileRows:
    """The rows of one file, in order.

    columns: the names of a delimited file's columns, () where its first line has them. A first line that repeats them
    is a header too. refused: gets each line that is no row, with its number, in place of an error; lines with too few
    cells go there too, and blank lines are left out. quoted: the cells of a .tsv may be in quotation marks, as pandas
    writes them.
    Raises: BadFile naming the file, and the line where there is one.
    """
    ending = Path(path.name.removesuffix(".gz")).suffix.lower()
    if ending not in _READERS:
        wanted = f"a name that ends in one of {', '.join(_READERS)} (or that and .gz)"
        sheet = spreadsheet_advice(ending)
        hint = f", {sheet}" if sheet else f".{did_you_mean(ending, _READERS)}"
        raise BadFile(path, wanted, f"{ending or 'no ending'!r}{hint}")
    found = _READERS[ending](path, _Form(columns, refused, quoted))
    if not found.rows and not found.short and not refused:
        header = " but for its header" if ending in (".tsv", ".csv", ".txt") and read_bytes(path).strip() else ""
        raise BadFile(path, "at least one row", f"an empty file{header}")
    return found


def _text(path: Path) -> str:
    """The text without its byte order mark and without the line ends at its end."""
    data = read_bytes(path)
    _refuse_encoding(path, data)
    return data.decode("utf-8").rstrip("\r\n")


def _refuse_encoding(path: Path, data: bytes) -> None:
    """Raises: BadFile for bytes that are not UTF-8, with the line and what they look like."""
    try:
        place, reason = data.find(b"\0"), "a zero byte"
        if place < 0:
            data.decode("utf-8")
            return
    except UnicodeDecodeError as error:
        place, reason = error.start, error.reason
    line, looks = data.count(b"\n", 0, place) + 1, other_encoding(data)
    raise BadFile(path, f"UTF-8 text in line {line:,}", f"bytes that are not ({reason}){f'; {looks}' if looks else ''}")


def _tab_separated(path: Path, form: _Form) -> FileRows:
    if form.quoted:
        return _quoted(path, form, "\t")
    text = _text(path)
    lines = enumerate(text.split("\n") if text else (), 1)
    return _table(path, form, ((number, line.removesuffix("\r").split("\t")) for number, line in lines))


def _comma_separated(path: Path, form: _Form) -> FileRows:
    return _quoted(path, form, ",")


def _quoted(path: Path, form: _Form, mark: str) -> FileRows:
    text = _text(path)
    header = text.partition("\n")[0]
    if not form.columns and mark not in header and (other := next((each for each in _MARKS if each in header), "")):
        wanted = f"cells separated by {_MARKS[mark]}s in line 1"
        raise BadFile(path, wanted, f"{_MARKS[other]}s in {header!r:.200}: save it anew, or under another ending")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)

    def lines() -> Iterator[tuple[int, list[str]]]:
        try:
            for cells in reader:
                yield reader.line_num, cells
        except csv.Error as error:
            raise BadFile(path, f"{_MARKS[mark]}-separated cells in line {reader.line_num:,}", f"{error}") from error

    before = csv.field_size_limit(max(len(text), 1))  # a cell may hold a picture in base64
    try:
        return _table(path, form, lines())
    finally:
        csv.field_size_limit(before)


def _table(path: Path, form: _Form, lines: Iterator[tuple[int, list[str]]]) -> FileRows:
    place, first = next(lines, (1, []))
    names = form.columns or tuple(first)
    if len(set(names)) < len(names):
        raise BadFile(path, "columns of different names in line 1", f"{', '.join(names):.200}")
    rows: list[dict[str, Any]] = []
    ends = array.array("L")
    short, first_short = 0, None
    is_row = bool(first) and list(names) != first
    for number, cells in itertools.chain([(place, first)] if is_row else [], lines):
        if form.refused is not None and not cells:  # a blank line of a .csv
            continue
        if len(cells) == len(names):
            rows.append(dict(zip(names, cells, strict=True)))
            ends.append(number)
            continue
        wanted = f"{len(names)} cells in line {number:,} ({', '.join(names):.200})"
        wrong = BadFile(path, wanted, f"{len(cells)}: {' | '.join(cells)!r:.80}")
        if form.refused is not None:
            form.refused.append((number, wrong))
            continue
        if len(cells) > len(names):
            raise wrong
        short, first_short = short + 1, first_short or wrong
    return FileRows(rows, ends, short, first_short)


def _tabs_or_json_lines(path: Path, form: _Form) -> FileRows:
    return (_json_lines if _text(path).startswith("{") else _tab_separated)(path, form)


def _json_lines(path: Path, form: _Form) -> FileRows:
    data = read_bytes(path).rstrip(b"\r\n")
    rows: list[dict[str, Any]] = []
    ends = array.array("L")
    for number, line in enumerate(data.split(b"\n") if data else (), 1):
        if form.refused is not None and not line.strip():
            continue
        try:
            rows.append(decode_json(path, line, dict[str, Any], f" in line {number:,}"))
            ends.append(number)
        except BadFile as error:
            if not form.refused:
                _refuse_encoding(path, data)
            error = _with_nan_named(error, line)
            if form.refused is None:
                raise error from error.__cause__
            form.refused.append((number, error))
    return FileRows(rows, ends)


def _with_nan_named(error: BadFile, data: bytes) -> BadFile:
    given = f"{error.given}: NaN is not JSON, write null"
    return BadFile(error.file, error.wanted, given) if b"NaN" in data else error


def _json_document(path: Path, form: _Form) -> FileRows:
    """An array of rows; or the one object that SQuAD's file is, for `Source.unfold`."""
    data = read_bytes(path).strip()
    try:
        value = decode_json(path, data, list[dict[str, Any]] | dict[str, Any]) if data else []
    except BadFile as error:
        _refuse_encoding(path, data)
        if data.startswith(b"{") and data.partition(b"\n")[0].rstrip().endswith(b"}") and b"\n{" in data:
            raise BadFile(path, error.wanted, "JSON lines: give it the ending .jsonl") from error
        raise _with_nan_named(error, data) from error.__cause__
    return FileRows(value if isinstance(value, list) else [value])


def _parquet(path: Path, form: _Form) -> FileRows:
    return FileRows(list(parquet_rows(path)))


def parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a parquet file one by one. Raises: BadFile, also behind rows that were good."""
    import pyarrow.parquet  # here, since no other file needs it and it is slow to import

    try:
        data = read_bytes(path)
        file = pyarrow.parquet.ParquetFile(io.BytesIO(data))
        held, most = _claimed_size(file.metadata), fair_size(len(data))
        for batch in file.iter_batches(_BATCH) if held <= most else ():
            held += max(batch.nbytes, _CELL * batch.num_rows * (1 + batch.num_columns))
            if held > most:
                break
            yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = reason_of(error)
        raise BadFile(path, "a whole parquet file", f"{reason}") from error
    if held > most:
        given = f"one that unpacks to more than {most:,} bytes, {len(data):,} packed"
        raise BadFile(path, "a parquet file of a fair size", given)


def _claimed_size(metadata: Any) -> int:
    """The greater of the bytes and the cells that a parquet file says it holds: equal values take next to nothing."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    columns = [group.column(number) for group in groups for number in range(group.num_columns)]
    sizes = sum(column.total_uncompressed_size for column in columns), sum(column.num_values for column in columns)
    return int(max(sizes))


_MARKS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}
_BATCH = 64  # rows of a parquet file that are unpacked at a time
_CELL = 8  # bytes that a value counts at least, as a row of Python takes more than its bits

_READERS: dict[str, Callable[[Path, _Form], FileRows]] = {
    ".tsv": _tab_separated,
    ".csv": _comma_separated,
    ".txt": _tabs_or_json_lines,
    ".jsonl": _json_lines,
    ".json": _json_document,
    ".parquet": _parquet,
}
