import gzip
import json
import pickle

import pytest

from dept_vl.data.annotation_files import (
    BadAnnotation,
    MissingFile,
    entries,
    field,
    find_file,
    listed,
    matching_files,
    read_entries,
    read_json,
    require_file,
    ten_answers,
)


def test_plain_and_gzipped_files_read_alike(tmp_path):
    (tmp_path / "a.json").write_text('{"é": 1}', encoding="utf-8")
    (tmp_path / "b.json.gz").write_bytes(gzip.compress('{"é": 1}'.encode()))
    assert read_json(tmp_path / "a.json", dict) == read_json(tmp_path / "b.json.gz", dict) == {"é": 1}


@pytest.mark.parametrize("keep", [0, 1, 17, 30])
def test_json_cut_in_the_middle_says_where(tmp_path, keep):
    path = tmp_path / "cut.json"
    path.write_text(json.dumps({"questions": [{"question_id": 1}, {"question_id": 2}]})[:keep])
    message = rf"cut\.json: wanted a whole JSON file, given one cut.* of {keep} "
    with pytest.raises(BadAnnotation, match=message):
        read_json(path, dict)


@pytest.mark.parametrize("data", [gzip.compress(b"{}" * 50, mtime=0)[:-9], b"no gzip at all", b""])
def test_a_cut_or_false_gzip_is_refused(tmp_path, data):
    path = tmp_path / "cut.json.gz"
    path.write_bytes(data)
    with pytest.raises(BadAnnotation, match=r"cut\.json\.gz: wanted"):
        read_json(path, dict)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "x.json").write_bytes(b'{"a": "\xff\xfe"}')
    with pytest.raises(BadAnnotation, match=r"x\.json: wanted UTF-8 text, given bytes that are not"):
        read_json(tmp_path / "x.json", dict)


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(BadAnnotation, match=r"x\.json: wanted a readable file, given FileNotFoundError"):
        read_json(tmp_path / "x.json", dict)


def test_the_wrong_top_level_is_refused(tmp_path):
    (tmp_path / "x.json").write_text("[1]")
    with pytest.raises(BadAnnotation, match="wanted an object at the top, given a list"):
        read_json(tmp_path / "x.json", dict)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "wanted the key 'images' at the top, given only"),
        ({"images": {}}, "wanted a list under 'images', given an object"),
        ({"images": []}, "wanted at least one entry under 'images', given an empty list"),
    ],
)
def test_entries_are_a_list_with_something_in_it(document, message):
    with pytest.raises(BadAnnotation, match=f"f: {message}"):
        entries("f", document, "images")


ENTRIES = """ {"info": {"a": [1, "]"]}, "empty": [],
  "annotations" : [ {"id": 1, "of": [{"id": 2}]} , 3, null ,"]}"], "license": {"annotations": [4]} } """


@pytest.mark.parametrize("text", [ENTRIES, ENTRIES.replace(" ", ""), '{"annotations":[0]}', "\ufeff" + ENTRIES])
def test_entries_read_one_by_one_are_those_of_the_document(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text, encoding="utf-8")
    assert list(read_entries(path, "annotations")) == read_json(path, dict)["annotations"]


BROKEN = [ENTRIES[:end] for end in range(0, len(ENTRIES) - 2, 3)]
BROKEN += [
    ENTRIES.replace(old, new, 1)
    for old, new in [
        ("3, null", "3 null"), ("3, null", "3,, null"), ('"]}"]', '"]}",]'), ("} } ", "}, } "), ("} } ", "} } {"),
        ("3", "9" * 5000), ("3", "[" * 5000), ("annotations", "answers"), ('"empty"', "5"), (" {", "["), ("[ {", "{"),
        (": [4]", ""), ("3", "3:"),
    ]
]  # fmt: skip


@pytest.mark.parametrize("text", [*BROKEN, '{"annotations": []}', '{"annotations": {}}', "[1]", "{}"])
def test_a_broken_document_says_the_same_whether_read_one_by_one_or_whole(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(BadAnnotation) as whole:
        entries(path, read_json(path, dict), "annotations")
    with pytest.raises(BadAnnotation) as one_by_one:
        list(read_entries(path, "annotations"))
    assert str(one_by_one.value) == str(whole.value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (3, r"wanted an object at images\[7\], given a whole number"),
        ({"b": 1}, r"wanted the key 'id' in images\[7\], given only \['b'\]"),
        ({"id": "12"}, r"wanted a whole number at images\[7\]\.id, given '12'"),
        ({"id": True}, r"wanted a whole number at images\[7\]\.id, given True"),
        ({"id": None}, r"wanted a whole number at images\[7\]\.id, given None"),
    ],
)
def test_a_field_has_its_key_and_its_type(entry, message):
    with pytest.raises(BadAnnotation, match=message):
        field("f", ("images", 7), entry, "id", int)


def test_ten_answers_are_wanted():
    assert ten_answers("f", ("annotations", 0), ["x"] * 10) == ("x",) * 10
    with pytest.raises(BadAnnotation, match=r"ten answer strings in annotations\[2\], given 9 entries, 9 of"):
        ten_answers("f", ("annotations", 2), ["x"] * 9)
    with pytest.raises(BadAnnotation, match="given 10 entries, 9 of them strings"):
        ten_answers("f", ("annotations", 2), ["x"] * 9 + [4])


@pytest.mark.parametrize("place", ["", "annotations", "vqa"])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_file_is_found_in_root_and_annotation_folders(tmp_path, place, ending):
    path = tmp_path / place / f"x.json{ending}"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")
    assert find_file(tmp_path, "x.json") == path
    assert find_file(tmp_path, "y.json") is None


def test_matching_files_are_in_order_of_name(tmp_path):
    (tmp_path / "annotations").mkdir()
    for name in ("captions_b.json.gz", "annotations/captions_a.json", "other.json"):
        (tmp_path / name).write_bytes(b"")
    names = [path.name for path in matching_files(tmp_path, "captions*.json")]
    assert names == ["captions_a.json", "captions_b.json.gz"]


def test_two_copies_of_a_file_are_refused(tmp_path):
    (tmp_path / "x.json").write_bytes(b"")
    (tmp_path / "x.json.gz").write_bytes(b"")
    with pytest.raises(BadAnnotation, match=r"wanted one copy of x\.json, given a second one beside"):
        find_file(tmp_path, "x.json")


def test_a_missing_file_or_folder_says_where_it_belongs(tmp_path):
    with pytest.raises(MissingFile, match=r"x\.json: wanted the answers; looked for .*vqa.*data/README\.md"):
        require_file(tmp_path, "x.json", "the answers")
    with pytest.raises(MissingFile, match="nowhere: wanted a folder .* given no such folder"):
        find_file(tmp_path / "nowhere", "x.json")


def test_long_lists_are_counted_and_shortened():
    assert listed(range(1204)) == "1,204 (0, 1, 2, 3, 4, ...)"
    assert listed(["a"]) == "1 (a)"


def test_the_error_survives_a_worker_process():
    error = pickle.loads(pickle.dumps(BadAnnotation("f.json", "this", "that")))
    assert str(error) == "f.json: wanted this, given that" and error.file == "f.json"
