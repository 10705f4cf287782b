import gzip
import json

import msgspec
import pytest

from dept_vl.untrusted.bad_file import BadFile
from dept_vl.untrusted.json_files import NotJson, parse_json, read_entries, read_json


def test_a_document_is_read_as_json_reads_it():
    assert parse_json('{"a": [1, "ä"]}') == {"a": [1, "ä"]} and parse_json(b"[true]") == [True]
    assert parse_json('["\\ud83d\\ude00"]') == ["\U0001f600"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": ', r"cut or broken at character 6 of 6 \(Expecting value, line 1\)"),
        ("[" * 100_000, "nested too deeply"),
        ("1" * 5000, "broken .*4300 digits"),
        (b'"\xff"', "broken .*utf-8"),
        ('{"a": ["\\ud83d"]}', "broken .*surrogates not allowed"),
    ],
    ids=["cut", "deep", "long", "bytes", "half a character"],
)
def test_whatever_is_no_json_is_one_error(text, message):
    with pytest.raises(NotJson, match=message):
        parse_json(text)


class Entry(msgspec.Struct):
    id: int


class Document(msgspec.Struct):
    images: list[Entry]


def test_plain_and_gzipped_files_read_alike_whatever_their_names(tmp_path):
    (tmp_path / "a.json").write_bytes(gzip.compress('\ufeff{"é": 1}'.encode()))
    (tmp_path / "b.json").write_text('{"é": 1}', encoding="utf-8-sig")
    assert read_json(tmp_path / "a.json", dict) == read_json(tmp_path / "b.json", dict) == {"é": 1}


@pytest.mark.parametrize("keep", [0, 1, 17, 30])
def test_json_cut_in_the_middle_says_so(tmp_path, keep):
    path = tmp_path / "cut.json"
    path.write_text(json.dumps({"images": [{"id": 1}, {"id": 2}, {"id": 3}]})[:keep])
    with pytest.raises(BadFile, match=rf"cut\.json: wanted a whole JSON file, .* {keep} bytes"):
        read_json(path, Document)


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(b"{}" * 50, mtime=0)[:-9], b"no gzip at all", b'{"a": "\xff\xfe"}', b'{"a": "\\ud800"}',
        b"[" * 5000, b"9" * 5000, b'{"a": NaN}', b"{} {}",
    ],
)  # fmt: skip
def test_what_is_no_json_is_refused(tmp_path, data):
    path = tmp_path / "x.json"
    path.write_bytes(data)
    with pytest.raises(BadFile, match=r"x\.json: wanted"):
        read_json(path, object)


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(BadFile, match=r"x\.json: wanted a readable file, given FileNotFoundError"):
        read_json(tmp_path / "x.json", dict)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([1], "`object`, got `array`"),
        ({}, "`images`"),
        ({"images": {}}, r"`array`, got `object` - at `\$\.images`"),
        ({"images": [{"id": 1}, 3]}, r"`object`, got `int` - at `\$\.images\[1\]`"),
        ({"images": [{"b": 1}]}, r"`id` - at `\$\.images\[0\]`"),
        *(({"images": [{"id": id}]}, r"`int`, .*\$\.images\[0\]\.id`") for id in ("12", True, None, 1.0)),
    ],
)
def test_a_document_of_another_form_names_the_place(tmp_path, document, message):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(document))
    with pytest.raises(BadFile, match=rf"x\.json: .*{message}"):
        read_json(path, Document)


ENTRIES = """ {"info": {"a": [1, "]"]}, "empty": [],
  "images" : [ {"id": 1, "of": [{"id": 2}]} , {"id": 3}], "license": {"images": [4]} } """


@pytest.mark.parametrize("text", [ENTRIES, ENTRIES.replace(" ", ""), '{"images":[]}', "\ufeff" + ENTRIES])
def test_entries_read_one_by_one_are_those_of_the_document(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text, encoding="utf-8")
    assert list(read_entries(path, "images", Entry)) == read_json(path, Document).images


BROKEN = [ENTRIES[:end] for end in range(0, len(ENTRIES) - 2, 3)]
BROKEN += [
    ENTRIES.replace(old, new, 1)
    for old, new in [
        (", {", " {"), (", {", ",, {"), ("}],", "},],"), ("} } ", "}, } "), ("} } ", "} } {"), ("3", "9" * 5000),
        ("3", "[" * 5000), ("images", "answers"), ('"empty"', "5"), (" {", "["), ("[ {", "{"), (": [4]", ""),
    ]
]  # fmt: skip


@pytest.mark.parametrize("text", [*BROKEN, '{"images": {}}', "[1]", "{}", '{"images": [3]}'])
def test_a_broken_document_is_refused_also_when_read_one_by_one(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(BadFile):
        list(read_entries(path, "images", Entry))


def test_the_entry_that_is_wrong_is_named(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"images": [{"id": 1}, {"id": "2"}]}')
    with pytest.raises(BadFile, match=r"images\[1\].*got `str` - at `\$\.id`"):
        list(read_entries(path, "images", Entry))
