import gzip
import io
import json
import tracemalloc

import pyarrow
import pyarrow.parquet
import pytest

from dept_vl.data.text_files import read_rows
from dept_vl.untrusted.bad_file import BadFile

ROWS = [{"text": 'An "odd" kettle, blue', "label": "1"}, {"text": "Ein Käse", "label": "0"}]
DOCUMENTS = {
    "rows.tsv": 'text\tlabel\nAn "odd" kettle, blue\t1\nEin Käse\t0\n',
    "rows.csv": 'text,label\n"An ""odd"" kettle, blue",1\nEin Käse,0\n',
    "tabs.txt": 'text\tlabel\nAn "odd" kettle, blue\t1\nEin Käse\t0\n',
    "lines.txt": "".join(json.dumps(row) + "\n" for row in ROWS),
    "rows.jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS),
    "rows.json": json.dumps(ROWS, indent=1),
}


def parquet_bytes(rows):
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def write(folder, name, text):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzipped"])
@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf"], ids=["", "byte order mark"])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_form_of_the_same_rows_reads_alike(tmp_path, name, line_end, before, packed):
    data = before + DOCUMENTS[name].encode().replace(b"\n", line_end)
    path = write(tmp_path, name + ".gz" * packed, gzip.compress(data) if packed else data)
    assert read_rows(path).rows == ROWS


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzipped"])
def test_parquet_keeps_its_types(tmp_path, packed):
    rows = [
        {"text": "a", "label": 1, "answers": {"text": ["x", "y"]}},
        {"text": "b", "label": 0, "answers": {"text": []}},
    ]
    data = parquet_bytes(rows)
    path = write(tmp_path, "rows.parquet" + ".gz" * packed, gzip.compress(data) if packed else data)
    assert read_rows(path).rows == rows


def test_named_columns_make_the_first_line_a_row(tmp_path):
    path = write(tmp_path, "x.tsv", "gj1\t1\t\tA kettle.\ngj1\t0\t*\tKettle a.\n")
    rows = read_rows(path, ("source", "label", "star", "sentence")).rows
    assert [row["label"] for row in rows] == ["1", "0"] and rows[0]["star"] == "" and rows[1]["sentence"] == "Kettle a."


@pytest.mark.parametrize("name", ["x.tsv", "x.csv"])
def test_a_first_line_that_repeats_the_named_columns_is_a_header(tmp_path, name):
    mark = "\t" if name == "x.tsv" else ","
    path = write(tmp_path, name, f"text{mark}label\na{mark}1\n")
    assert read_rows(path, ("text", "label")).rows == [{"text": "a", "label": "1"}]
    assert len(read_rows(path, ("label", "text")).rows) == 2


def test_a_quotation_mark_in_a_tsv_is_text(tmp_path):
    path = write(tmp_path, "x.tsv", 'text\tlabel\n"open\t1\nclose"\t0\n')
    assert [row["text"] for row in read_rows(path).rows] == ['"open', 'close"']


def test_line_separators_of_unicode_do_not_end_a_line(tmp_path):
    odd = "one\u2028two\x85three\x0bfour"
    tabs = write(tmp_path, "x.tsv", f"text\tlabel\n{odd}\t1\n")
    lines = write(tmp_path, "x.jsonl", json.dumps({"text": odd}, ensure_ascii=False) + "\n")
    assert read_rows(tabs).rows[0]["text"] == read_rows(lines).rows[0]["text"] == odd


def test_a_quoted_csv_cell_may_hold_line_ends(tmp_path):
    path = write(tmp_path, "x.csv", '"1","first\nsecond, third"\n"2","fourth"\n')
    rows = read_rows(path, ("label", "text")).rows
    assert [row["text"] for row in rows] == ["first\nsecond, third", "fourth"]


def test_an_empty_last_cell_is_kept(tmp_path):
    assert read_rows(write(tmp_path, "x.tsv", "text\tnote\na\tb\nc\t\n")).rows[1] == {"text": "c", "note": ""}


def test_one_json_object_is_one_row(tmp_path):
    document = {"version": "v2.0", "data": [{"title": "Kettles"}]}
    assert read_rows(write(tmp_path, "x.json", json.dumps(document))).rows == [document]


@pytest.mark.parametrize("name", ["x.tsv", "x.csv"])
def test_a_row_with_too_many_cells_names_file_and_line(tmp_path, name):
    mark = "\t" if name == "x.tsv" else ","
    path = write(tmp_path, name, f"text{mark}label\na{mark}1\nb{mark}0{mark}extra\n")
    with pytest.raises(BadFile, match=rf"{name}: wanted 2 cells in line 3 \(text, label\), given 3: 'b | 0 | extra'"):
        read_rows(path)


@pytest.mark.parametrize("name", ["x.tsv", "x.csv"])
def test_a_row_with_too_few_cells_is_handed_back_as_an_error(tmp_path, name):
    mark = "\t" if name == "x.tsv" else ","
    found = read_rows(write(tmp_path, name, f"text{mark}label\na{mark}1\nb\nc{mark}0\n"))
    assert [row["text"] for row in found.rows] == ["a", "c"] and found.short == 1
    assert f"{name}: wanted 2 cells in line 3 (text, label), given 1: 'b'" in str(found.first_short)


@pytest.mark.parametrize("name", ["x.tsv", "x.csv", "x.txt", "x.jsonl", "x.json"])
@pytest.mark.parametrize("data", [b"", b"\n", b"\xef\xbb\xbf"], ids=["nothing", "line end", "byte order mark"])
def test_an_empty_file_is_refused(tmp_path, name, data):
    for columns in ((), ("text", "label")):
        with pytest.raises(BadFile, match=rf"{name}: wanted at least one row, given an empty file"):
            read_rows(write(tmp_path, name, data), columns)


@pytest.mark.parametrize(
    ("name", "data"), [("x.tsv", "text\tlabel\n"), ("x.json", "[]"), ("x.parquet", parquet_bytes([]))]
)
def test_a_file_without_rows_is_refused(tmp_path, name, data):
    with pytest.raises(BadFile, match=rf"{name}: wanted at least one row, given an empty file"):
        read_rows(write(tmp_path, name, data))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.tsv", b"text\tlabel\nok\t1\nb\xff\t0\n", r"x\.tsv: wanted UTF-8 text in line 3, given bytes that are not"),
        ("x.tsv", b"text\ttext\na\tb\n", r"x\.tsv: wanted columns of different names in line 1, given text, text"),
        ("x.csv", b'text,label\na,1\n"b,0\n', r"x\.csv: wanted comma-separated cells in line 3, given unexpected end"),
        ("x.csv", b'text,label\n"a"b,1\n', r"x\.csv: wanted comma-separated cells in line 2, given ',' expected"),
        ("x.jsonl", b'{"a": 1}\n{"a": \n', r"x\.jsonl: wanted a whole JSON file, given one cut or broken in line 2"),
        ("x.jsonl", b'{"a": 1}\n\n{"a": 2}\n', r"x\.jsonl: wanted a whole JSON file, .* in line 2"),
        ("x.jsonl", b'{"a": 1}\n[2]\n', r"x\.jsonl: .* in line 2: .*`object`, got `array`"),
        ("x.txt", b'{"a": 1}\n{"a"', r"x\.txt: wanted a whole JSON file, .* in line 2"),
        ("x.json", b'{"data":\n [', r"x\.json: wanted a whole JSON file, given one cut .* 11 bytes"),
        ("x.json", b'[{"a": 1}, 7]', r"x\.json: .*`object`, got `int` - at `\$\[1\]`"),
        ("x.parquet", b"PAR1 not really", r"x\.parquet: wanted a whole parquet file, given"),
        ("x.parquet", parquet_bytes(ROWS)[:-20], r"x\.parquet: wanted a whole parquet file, given"),
        (
            "x.jsonl.gz",
            gzip.compress(b'{"a": 1}\n' * 50, mtime=0)[:-9],
            r"x\.jsonl\.gz: wanted a whole gzip file, given a cut",
        ),
        ("x.tsv.gz", gzip.compress(b"text\tlabel\n", mtime=0)[:-9], r"x\.tsv\.gz: wanted a whole gzip file"),
        ("x.tvs", b"text\tlabel\n", r"x\.tvs: wanted a name that ends in one of \.tsv, .*, given .*mean .\.tsv"),
        ("x.xlsx", b"PK", r"given '\.xlsx', a spreadsheet: save its sheet as CSV .in Excel: 'CSV UTF-8'."),
        ("x.csv", b"text,label\na,1\n" + b"b,0\n" * 200 + b"\0,1\n", r"UTF-8 text in line 203, given .* .a zero byte"),
        ("x", b"", r"x: wanted a name that ends in one of .*, given 'no ending'"),
    ],
)  # fmt: skip
def test_a_broken_file_names_itself_and_the_line(tmp_path, name, data, message):
    with pytest.raises(BadFile, match=message):
        read_rows(write(tmp_path, name, data))


@pytest.mark.parametrize("name", ["x.tsv", "x.jsonl", "x.parquet"])
def test_an_absent_file_is_refused(tmp_path, name):
    with pytest.raises(BadFile, match=rf"{name}: wanted a"):
        read_rows(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "data", "places"),
    [
        ("x.jsonl", b'{"a": 1}\n{"a": 2}', ["line 1", "line 2"]),
        ("x.tsv", b"a\tb\nx\nx\ty\n", ["line 3"]),
        ("x.csv", b'a,b\n"x\nx",y\nz,z\n', ["line 3", "line 4"]),
        ("x.json", b'[{"a": 1}, {"a": 2}]', ["row 1", "row 2"]),
    ],
)
def test_a_row_knows_its_line(tmp_path, name, data, places):
    found = read_rows(write(tmp_path, name, data))
    assert [found.where(place) for place in range(len(found.rows))] == places


def test_many_short_lines_cost_one_error(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text("\t".join(f"column {n}" for n in range(5_000)) + "\nx" * 5_000)
    tracemalloc.start()
    found = read_rows(path)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.short == 5_000 and held < 10 * 2**20  # each with its columns: 300 MB
    assert len(str(found.first_short)) < 600


BOMBS = {
    "rows": pyarrow.table({"label": pyarrow.array([1] * 3_000_000)}),
    "nulls": pyarrow.table({"label": pyarrow.nulls(3_000_000)}),
    "equal texts": pyarrow.table({"text": ["x" * 500_000] * 100}),
    "one long row": pyarrow.table({"numbers": [[1] * 20_000_000]}),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_parquet_file_that_unpacks_to_far_more_is_refused(tmp_path, bomb):
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(BOMBS[bomb], path, compression="zstd")
    with pytest.raises(BadFile, match="wanted a parquet file of a fair size, given one that unpacks to"):
        read_rows(path)


def test_a_gzip_bomb_is_refused(tmp_path):
    path = tmp_path / "rows.tsv.gz"
    path.write_bytes(gzip.compress(bytes(20 * 2**20)))
    with pytest.raises(BadFile, match="wanted a whole gzip file, given one that unpacks to more than 8,388,608"):
        read_rows(path)


ENCODED = {
    "Latin-1": ("text,label\nKäse,1\n".encode("latin-1"), "line 2, .*Latin-1 or Windows-1252: save it as UTF-8"),
    "two": ("text,label\nKäse,1\n".encode() + "Käse,0\n".encode("cp1252"), "UTF-8 in line 2 .*Latin-1 .* in line 3"),
    "UTF-16": ("text,label\nKäse,1\n".encode("utf-16"), "UTF-16"),
    "UTF-16 without its mark": ("text,label\nkettle,1\n".encode("utf-16-be"), "UTF-16"),
}


@pytest.mark.parametrize("encoding", ENCODED)
@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.json"])
def test_another_encoding_is_named(tmp_path, name, encoding):
    data, message = ENCODED[encoding]
    with pytest.raises(BadFile, match=f"{name}: wanted UTF-8 text in .*{message}"):
        read_rows(write(tmp_path, name, data))


def test_refused_lines_are_handed_back_where_asked(tmp_path):
    refused = []
    lines = read_rows(write(tmp_path, "x.jsonl", b'{"a": 1}\n{"a": \n{"a": 2}\n'), refused=refused)
    assert [lines.where(place) for place in range(2)] == ["line 1", "line 3"] and [each[0] for each in refused] == [2]
    refused = []
    table = read_rows(write(tmp_path, "x.csv", b"a,b\n1\n2,3\n4,5,6\n"), refused=refused)
    assert table.rows == [{"a": "2", "b": "3"}] and [each[0] for each in refused] == [2, 4] and not table.short


def test_cells_in_tabs_may_be_quoted_where_asked_and_may_be_long(tmp_path):
    long = "x" * 200_000  # beyond what the csv module takes unasked
    path = write(tmp_path, "x.tsv", f'text\tlabel\n"two\nlines"\t{long}\n')
    assert read_rows(path, quoted=True).rows == [{"text": "two\nlines", "label": long}]
    assert read_rows(write(tmp_path, "x.csv", f"text,label\na,{long}\n")).rows[0]["label"] == long


@pytest.mark.parametrize(("header", "given"), [("text;label", "semicolons"), ("text\tlabel", "tabs")])
def test_a_table_separated_otherwise_says_so(tmp_path, header, given):
    with pytest.raises(BadFile, match=f"x.csv: wanted cells separated by commas in line 1, given {given}"):
        read_rows(write(tmp_path, "x.csv", f"{header}\na,1\n"))
