"""The same rows in every form that a user may bring them in."""

import gzip

import datasets
import pytest

from dept_vl.data.own import read_own
from tests.data.own_files import (
    ROWS,
    base64_of,
    bytes_of,
    picture,
    write_delimited,
    write_json,
    write_lines,
    write_parquet,
    write_pictures,
)


def renamed(**names):
    return [{names.get(name, name): value for name, value in row.items()} for row in ROWS]


def with_image(make, **names):
    return [{**row, "image": make(row)} for row in renamed(**names)]


def to_disk(folder, **features):
    rows = [{**row, "image": {"bytes": bytes_of(row), "path": None}} for row in ROWS]
    kinds = {
        "image": datasets.Image(),
        "question": datasets.Value("string"),
        "answers": datasets.List(datasets.Value("string")),
    }
    data = datasets.Dataset.from_list(rows, features=datasets.Features(kinds | features))
    data.save_to_disk(str(folder / "saved"))
    return folder / "saved"


def images_as_in_a_folder(folder):
    rows = [{**row, "file_name": row["image"].removeprefix("images/")} for row in ROWS]
    write_delimited(
        folder / "images" / "metadata.csv", [{k: v for k, v in row.items() if k != "image"} for row in rows]
    )
    return folder / "images"


FORMS = {
    "jsonl": lambda folder: write_lines(folder / "rows.jsonl", ROWS),
    "json": lambda folder: write_json(folder / "rows.json", ROWS),
    "csv": lambda folder: write_delimited(folder / "rows.csv", ROWS),
    "tsv": lambda folder: write_delimited(folder / "rows.tsv", ROWS, "\t"),
    "parquet": lambda folder: write_parquet(folder / "rows.parquet", ROWS),
    "bytes in parquet": lambda folder: write_parquet(folder / "rows.parquet", with_image(bytes_of)),
    "a hub's parquet": lambda folder: write_parquet(
        folder / "rows.parquet", with_image(lambda row: {"bytes": bytes_of(row), "path": "0.png"})
    ),
    "base64 in csv": lambda folder: write_delimited(folder / "rows.csv", with_image(base64_of)),
    "data addresses": lambda folder: write_lines(
        folder / "rows.jsonl", with_image(lambda row: f"data:image/png;base64,{base64_of(row)}")
    ),
    "whole paths": lambda folder: write_lines(
        folder / "rows.jsonl", with_image(lambda row: str(folder.absolute() / row["image"]))
    ),
    "names in images/": lambda folder: write_lines(
        folder / "rows.jsonl", with_image(lambda row: row["image"].removeprefix("images/"))
    ),
    "names without endings": lambda folder: write_lines(
        folder / "rows.jsonl",
        [{"image_id": int(row["image"][7:-4]), "question": row["question"], "answers": row["answers"]} for row in ROWS],
    ),
    "Windows paths": lambda folder: write_lines(
        folder / "rows.jsonl", with_image(lambda row: row["image"].replace("/", "\\"))
    ),
    "lists of one image": lambda folder: write_lines(folder / "rows.jsonl", with_image(lambda row: [row["image"]])),
    "other usual names": lambda folder: write_lines(
        folder / "rows.jsonl", renamed(image="Image Path", question="query", answers="label")
    ),
    "VQA v2's answers": lambda folder: write_lines(
        folder / "rows.jsonl", [{**row, "answers": [{"answer": each} for each in row["answers"]]} for row in ROWS]
    ),
    "lists as Python writes them": lambda folder: write_delimited(
        folder / "rows.csv", [{**row, "answers": str(row["answers"])} for row in ROWS]
    ),
    "gzipped": lambda folder: write_gzipped(folder),
    "byte order mark": lambda folder: with_mark(write_delimited(folder / "rows.csv", ROWS)),
    "a folder with one table": lambda folder: write_lines(folder / "rows.jsonl", ROWS).parent,
    "an image folder": images_as_in_a_folder,
    "save_to_disk": to_disk,
}


def write_gzipped(folder):
    path = write_lines(folder / "rows.jsonl", ROWS)
    packed = folder / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    return packed


def with_mark(path):
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    return path


def facts(found, split="all"):
    """What matters of rows: the picture's bytes, the question and the answers."""
    return [
        (found.image_paths[row["image"]].read_bytes(), row["question"], row["answers"]) for row in found.rows[split]
    ]


EXPECTED = [(bytes_of(row), row["question"], tuple(row["answers"])) for row in ROWS]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_same_rows_reads_alike(tmp_path, form):
    root = FORMS[form](write_pictures(tmp_path))
    found = read_own(root, family="vqa", cache=tmp_path / "cache")
    assert facts(found) == EXPECTED
    assert len({row["question_id"] for row in found.rows["all"]}) == len(ROWS) == found.read and not found.skipped
    assert set(found.recognised.values()) >= {"image", "question", "answers"} and found.notes


def test_columns_of_any_name_are_read_by_what_the_config_says(tmp_path):
    path = write_lines(write_pictures(tmp_path) / "x.jsonl", renamed(image="foto", question="frage", answers="antwort"))
    columns = {"image": "foto", "question": "frage", "answers": "antwort"}
    found = read_own(path, family="vqa", columns=columns)
    assert facts(found) == EXPECTED and found.recognised == {"foto": "image", "frage": "question", "antwort": "answers"}


def test_pictures_that_come_as_bytes_are_written_once_and_whole(tmp_path):
    path = write_parquet(tmp_path / "rows.parquet", [*with_image(bytes_of), *with_image(bytes_of)])
    written = []
    for _ in range(2):
        read_own(path, family="vqa", cache=tmp_path / "cache")
        files = sorted((tmp_path / "cache").rglob("*.png"))
        assert sorted(each.read_bytes() for each in files) == sorted(map(picture, range(4)))
        written.append([(each.name, each.stat().st_mtime_ns) for each in files])
    assert written[0] == written[1]


def test_classes_are_read_by_their_names(tmp_path):
    rows = [{"image": {"bytes": bytes_of(row), "path": None}, "question": row["question"], "answer": 1} for row in ROWS]
    kinds = {
        "image": datasets.Image(),
        "question": datasets.Value("string"),
        "answer": datasets.ClassLabel(names=["no", "yes"]),
    }
    data = datasets.Dataset.from_list(rows, features=datasets.Features(kinds))
    data.save_to_disk(str(tmp_path / "saved"))
    data.to_parquet(str(tmp_path / "rows.parquet"))
    for root in (tmp_path / "saved", tmp_path / "rows.parquet"):
        found = read_own(root, family="vqa", cache=tmp_path / "cache")
        assert {row["answers"] for row in found.rows["all"]} == {("yes",)}, root


def test_numbers_are_answers(tmp_path):
    answers = [3, 3.0, 2.5, [1, "one"]]
    path = write_lines(
        write_pictures(tmp_path) / "x.jsonl",
        [{**row, "answers": each} for row, each in zip(ROWS, answers, strict=True)],
    )
    found = read_own(path, family="vqa")
    assert [row["answers"] for row in found.rows["all"]] == [("3",), ("3",), ("2.5",), ("1", "one")]


def test_a_cell_that_only_looks_like_a_list_is_text(tmp_path):
    path = write_delimited(write_pictures(tmp_path) / "x.csv", [{**ROWS[0], "answers": "[sic]"}])
    assert read_own(path, family="vqa").rows["all"][0]["answers"] == ("[sic]",)


def test_given_ids_are_kept_and_others_name_their_line(tmp_path):
    rows = [{**row, "question_id": 100 + place} for place, row in enumerate(ROWS)]
    path = write_lines(write_pictures(tmp_path) / "mine.jsonl", rows)
    assert [row["question_id"] for row in read_own(path, family="vqa").rows["all"]] == [100, 101, 102, 103]
    found = read_own(path, family="vqa", columns={"id": ""})
    assert [row["question_id"] for row in found.rows["all"]] == ["mine-1", "mine-2", "mine-3", "mine-4"]
    assert "question_id" in found.notes[0]


CAPTIONS = [("images/0.png", ("a red square", "red")), ("images/1.png", ("a green square",))]
CAPTION_FORMS = {
    "a list": lambda folder: write_lines(folder / "x.jsonl", [{"image": i, "captions": c} for i, c in CAPTIONS]),
    "a row each": lambda folder: write_delimited(
        folder / "x.csv", [{"image": image, "caption": each} for image, captions in CAPTIONS for each in captions]
    ),
    "Karpathy's sentences": lambda folder: write_json(
        folder / "x.json", [{"filename": i, "sentences": [{"raw": e, "tokens": []} for e in c]} for i, c in CAPTIONS]
    ),
    "a text beside each": lambda folder: beside(folder),
    "LLaVA's conversations": lambda folder: write_json(
        folder / "x.json",
        [
            {"image": i, "conversations": [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": each}]}
            for i, captions in CAPTIONS
            for each in captions
        ],
    ),
}


def beside(folder):
    (folder / "images" / "0.txt").write_text("a red square\n\nred\n")
    (folder / "images" / "1.txt").write_text("a green square")
    return folder


@pytest.mark.parametrize("form", CAPTION_FORMS)
def test_every_form_of_the_same_captions_reads_alike(tmp_path, form):
    found = read_own(CAPTION_FORMS[form](write_pictures(tmp_path, 2)), family="caption")
    rows = [(found.image_paths[row["image"]], row["captions"]) for row in found.rows["all"]]
    assert rows == [(tmp_path / image, captions) for image, captions in CAPTIONS]
    assert [row["image_id"] for row in found.rows["all"]] == ["images/0.png", "images/1.png"]
