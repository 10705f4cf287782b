"""What people get wrong: each wrong file gives one line with the place, what was wanted and what to change."""

import base64
import io
import json
import re

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from dept_vl.data.own import read_own
from dept_vl.untrusted.bad_file import BadFile
from tests.data.own_files import ROWS, picture, write_delimited, write_json, write_lines, write_parquet, write_pictures

GOOD = ROWS[0]
HUMAN, GPT = {"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A square."}


def jsonl(*rows, name="x.jsonl"):
    return lambda folder: write_lines(folder / name, [GOOD, *rows])


def text(data, name="x.csv"):
    return lambda folder: written(folder / name, data)


def written(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def image_file(data, name="bad.png"):
    def write(folder):
        written(folder / "images" / name, data)
        return write_lines(folder / "x.jsonl", [GOOD, {**GOOD, "image": f"images/{name}"}])

    return write


def cut_jpeg(folder):
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 80).save(buffer, "JPEG")
    return image_file(buffer.getvalue()[:-500], "bad.jpg")(folder)


def turns(*conversation, **row):
    return lambda folder: write_json(
        folder / "x.json", [{"image": "images/0.png", "conversations": conversation, **row}]
    )


def mixed_parquet(folder):
    table = pyarrow.table(
        {"image": ["images/0.png", "images/1.png"], "question": ["a", "b"], "answers": [b"\xff", b"b"]}
    )
    pyarrow.parquet.write_table(table, folder / "x.parquet")
    return folder / "x.parquet"


PNG = base64.b64encode(picture(0) + b"\0" * 300).decode()
HEAD = "image,question,answer\n"
TWO_SPLITS = [{**GOOD, "split": "train"}, {**GOOD, "split": "trian"}]
WRONG = {
    "missing image": (jsonl({**GOOD, "image": "images/00.png"}), ["line 2", "'image'", "images/00.png", "'0.png'"]),
    "misspelt column": (
        text("imgae,question,answer\nimages/0.png,a,b\n"),
        ["image", "'imgae'", "--task.columns.image imgae"],
    ),
    "no image column": (text("question,answer\na,b\n"), ["a column for the image", "question, answer"]),
    "no question column": (
        text("image,answer\nimages/0.png,b\n"),
        ["a column for the question", "--task.columns.question"],
    ),
    "Latin-1": (text((HEAD + "images/0.png,Wo?,Käse\n").encode("latin-1")), ["line 2", "Latin-1", "UTF-8"]),
    "two encodings": (
        text(HEAD.encode() + "images/0.png,Wo?,Käse\n".encode() + "images/1.png,Wo?,Käse\n".encode("latin-1")),
        ["line 3", "line 2", "Latin-1"],
    ),
    "UTF-16": (text((HEAD + "images/0.png,a,b\n").encode("utf-16")), ["UTF-16", "UTF-8"]),
    "UTF-16 without its mark": (text((HEAD + "images/0.png,a,b\n").encode("utf-16-le")), ["UTF-16"]),
    "UTF-16 JSON lines": (text(json.dumps(GOOD).encode("utf-16"), "x.jsonl"), ["UTF-16"]),
    "base64 cut off": (jsonl({**GOOD, "image": PNG[:-3]}), ["line 2", "'image'", "base64", f"{len(PNG) - 3:,}"]),
    "base64 cut at a whole byte": (jsonl({**GOOD, "image": PNG[:64]}), ["line 2", "'image'", "a whole picture"]),
    "base64 of no image": (
        jsonl({**GOOD, "image": base64.b64encode(b"text " * 80).decode()}),
        ["line 2", "'image'", "b'text"],
    ),
    "another machine's path": (
        jsonl({**GOOD, "image": "/home/ann/set/1.png"}),
        ["line 2", "/home/ann/set/1.png", "task.image_root"],
    ),
    "another machine's path, the file here": (
        jsonl({**GOOD, "image": "/home/ann/set/1.png"}),
        ["images/1.png is here", "'1.png'"],
    ),
    "a Windows machine's path": (
        jsonl({**GOOD, "image": "C:\\set\\1.png"}),
        ["line 2", "another machine", "images/1.png is here"],
    ),
    "null answer": (jsonl({**GOOD, "answers": None}), ["line 2", "'answers'", "nothing"]),
    "NaN in JSON": (
        text('{"image": "images/0.png", "question": "a", "answer": NaN}\n', "x.jsonl"),
        ["line 1", "NaN", "null"],
    ),
    "NaN in a JSON list": (
        text('[{"image": "images/0.png", "question": "a", "answer": NaN}]', "x.json"),
        ["x.json", "NaN", "null"],
    ),
    "NaN in Parquet": (
        lambda folder: write_parquet(
            folder / "x.parquet", [{**GOOD, "answers": 1.5}, {**GOOD, "answers": float("nan")}]
        ),
        ["row 2", "'answers'", "NaN"],
    ),
    "nan in CSV": (text(HEAD + "images/0.png,a,nan\n"), ["line 2", "'answer'", "'nan'"]),
    "list for a string": (jsonl({**GOOD, "question": ["a", "b"]}), ["line 2", "'question'", "text", "a list"]),
    "number for a string": (jsonl({**GOOD, "question": 3}), ["line 2", "'question'", "3 (int)"]),
    "string for a list": (turns(conversations="What? A square."), ["row 1", "'conversations'", "a list of turns"]),
    "answers of answers": (jsonl({**GOOD, "answers": [["a"]]}), ["line 2", "'answers'", "a list"]),
    "an object as answer": (jsonl({**GOOD, "answers": {"yes": 3}}), ["line 2", "'answers'", "an object"]),
    "true as answer": (jsonl({**GOOD, "answers": True}), ["line 2", "'answers'", "True", "yes or no"]),
    "no answer in the list": (jsonl({**GOOD, "answers": []}), ["line 2", "'answers'", "an empty list"]),
    "empty answer": (text(HEAD + "images/0.png,a, \n"), ["line 2", "'answer'", "an empty cell"]),
    "numpy's list": (text(HEAD + "images/0.png,a,\"['red' 'blue']\"\n"), ["line 2", "'answer'", "commas"]),
    "a cut list": (text(HEAD + "images/0.png,a,\"['red', 'bl\"\n"), ["line 2", "'answer'", "cut"]),
    "empty file": (text(b""), ["x.csv", "at least one row", "empty"]),
    "header only": (text(HEAD), ["x.csv", "at least one row", "header"]),
    "ragged CSV": (text(HEAD + "images/0.png,a,b\nimages/1.png,Hi, there?,b\n"), ["line 3", "3 cells", "4"]),
    "short line": (text(HEAD + "images/0.png,a\nimages/1.png,a,b\n"), ["line 2", "3 cells", "2"]),
    "doubled header": (text("image,question,question\nimages/0.png,a,b\n"), ["line 1", "different names", "question"]),
    "semicolons": (text("image;question;answer\nimages/0.png;Hi, you;b\n"), ["commas", "semicolons"]),
    "open quotation mark": (
        text(HEAD + 'images/0.png,"a,b\nimages/1.png,a,b\n'),
        ["x.csv", "comma-separated", "line 3"],
    ),
    "two questions in a row": (turns(HUMAN, HUMAN, GPT), ["row 1", "'conversations'", "user as turn 2 of 3"]),
    "question without an answer": (turns(HUMAN, GPT, HUMAN), ["row 1", "'conversations'", "3 turns"]),
    "answer first": (turns(GPT, HUMAN), ["row 1", "'conversations'", "assistant as turn 1 of 2"]),
    "unknown speaker": (turns({"from": "bob", "value": "a"}, GPT), ["row 1", "turn 1", "'bob'", "human"]),
    "conversation without <image>": (turns({"from": "human", "value": "What?"}, GPT), ["row 1", "<image>", "none"]),
    "conversation without a picture": (turns(HUMAN, GPT, image=None), ["row 1", "'image'", "nothing"]),
    "two <image>": (turns({"from": "human", "value": "<image> <image> Same?"}, GPT), ["row 1", "one image", "2"]),
    "two images": (jsonl({**GOOD, "image": ["images/0.png", "images/1.png"]}), ["line 2", "'image'", "one image", "2"]),
    "an address": (
        jsonl({**GOOD, "image": "https://example.org/a.jpg"}),
        ["line 2", "https://example.org/a.jpg", "downloaded"],
    ),
    "a path of another kind": (
        jsonl({**GOOD, "image": "{" * 400}),
        ["line 2", "'image'", "{{{{", "too long"],
    ),
    "a folder": (jsonl({**GOOD, "image": "images"}), ["line 2", "'image'", "the folder"]),
    "zero bytes": (image_file(b""), ["line 2", "bad.png", "an empty file"]),
    "a phone's picture": (
        image_file(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "bad.heic"),
        ["line 2", "bad.heic", "HEIC: save it as JPEG or PNG"],
    ),
    "a zero byte in a path": (jsonl({**GOOD, "image": "images/0\0.png"}), ["line 2", "'image'", "not found"]),
    "a zero byte in a table": (
        text(HEAD.encode() + b"images/0.png,a,b\n" * 40 + b"images/0.png,a\0,b\n"),
        ["x.csv", "line 42", "a zero byte"],
    ),
    "a spreadsheet called .csv": (text(b"PK\x03\x04\x14\0\x06\0"), ["x.csv", "a spreadsheet", "'CSV UTF-8'"]),
    "no image": (image_file(b"GIF or not"), ["line 2", "bad.png", "GIF or n"]),
    "cut JPEG": (cut_jpeg, ["line 2", "bad.jpg", "whole image"]),
    "a git-lfs pointer": (
        image_file(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        ["line 2", "git lfs pull"],
    ),
    "an object for a list": (
        lambda folder: write_json(folder / "x.json", {"info": {}, "data": list(ROWS)}),
        ["a JSON list", "'data'"],
    ),
    "COCO's object": (
        lambda folder: write_json(folder / "x.json", {"images": [{"id": 1}], "annotations": [{"id": 1}]}),
        ["its official name"],
    ),
    "JSON lines called .json": (lambda folder: written(folder / "x.json", json_lines()), ["JSON lines", ".jsonl"]),
    "broken line": (text(json.dumps(GOOD) + '\n{"image": "images/1.png", \n', "x.jsonl"), ["line 2", "cut or broken"]),
    "bytes for text in Parquet": (mixed_parquet, ["row 1", "'answers'", "bytes"]),
    "unknown split": (
        lambda folder: write_lines(folder / "x.jsonl", TWO_SPLITS),
        ["line 2", "'split'", "'trian'", "'train'"],
    ),
    "an id twice": (
        lambda folder: write_lines(folder / "x.jsonl", [{**GOOD, "id": 5}, {**GOOD, "id": 5}]),
        ["line 2", "'id'", "5 again", "line 1", "--task.columns.id"],
    ),
    "an id that is none": (
        lambda folder: write_lines(folder / "x.jsonl", [{**GOOD, "id": 1}, {**GOOD, "id": 1.5}]),
        ["line 2", "'id'", "1.5"],
    ),
    "a path out of the folder": (
        jsonl({**GOOD, "image": "../../etc/passwd.png"}),
        ["line 2", "leaves the folder", "image_root"],
    ),
    "a row without its image": (jsonl({"question": "a", "answers": "b"}), ["line 2", "'image'", "nothing"]),
    "a row without its question": (
        jsonl({"image": "images/0.png", "answers": "b"}),
        ["line 2", "'question'", "nothing"],
    ),
    "a table of another kind": (text(b"PK\x03\x04", "x.xlsx"), ["x.xlsx", "a spreadsheet", "CSV UTF-8"]),
}


def json_lines():
    return "".join(json.dumps(row) + "\n" for row in ROWS)


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_refused_in_one_line_that_says_where_and_what_to_change(tmp_path, case):
    make, parts = WRONG[case]
    write_pictures(tmp_path)
    path = make(tmp_path)
    with pytest.raises(BadFile) as refused:
        read_own(path, family="vqa", cache=tmp_path / "cache")
    message = str(refused.value)
    assert path.name in message and not [part for part in parts if part not in message], message
    assert "\n" not in message and len(message) < 700


BY_ROW = [case for case, (_, parts) in WRONG.items() if re.fullmatch("(line|row) 2", parts[0])]


@pytest.mark.parametrize("case", [case for case in BY_ROW if case not in ("Latin-1", "NaN in JSON", "short line")])
def test_skip_leaves_the_bad_row_out_counts_it_and_lists_it(tmp_path, case):
    make, parts = WRONG[case]
    write_pictures(tmp_path)
    path = make(tmp_path)
    if case in ("nan in CSV", "empty answer", "numpy's list", "a cut list"):  # the only row
        with pytest.raises(BadFile, match="none of 1"):
            read_own(path, family="vqa", on_bad_row="skip", cache=tmp_path / "cache")
        return
    found = read_own(path, family="vqa", on_bad_row="skip", cache=tmp_path / "cache")
    assert sum(map(len, found.rows.values())) == 1 and found.read == 2
    [skipped] = found.skipped
    assert skipped["file"] == str(path) and skipped["place"] == parts[0] and "wanted" in skipped["reason"]
    assert any("1 of 2 rows are left out" in note for note in found.notes)


def test_a_line_that_is_no_row_is_skipped_too(tmp_path):
    path = written(write_pictures(tmp_path) / "x.csv", HEAD + "images/0.png,a\nimages/1.png,a,b,c\nimages/2.png,a,b\n")
    found = read_own(path, family="vqa", on_bad_row="skip")
    assert [each["place"] for each in found.skipped] == ["line 2", "line 3"] and len(found.rows["all"]) == 1


def test_unknown_settings_are_refused_with_a_suggestion(tmp_path):
    path = write_delimited(write_pictures(tmp_path) / "x.csv", ROWS)
    for wrong, message in (
        ({"columns": {"anwsers": "answers"}}, "task.columns of .*Did you mean 'answers'"),
        ({"columns": {"answers": "answer"}}, "column 'answer' .*Did you mean 'answers'"),
    ):
        with pytest.raises(ValueError, match=message):
            read_own(path, family="vqa", **wrong)
