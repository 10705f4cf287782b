"""Which files of a root are its tables, which splits they are, and what is not a user's own data."""

import json

import datasets
import pytest

from dept_vl.data.data_root import MissingFile
from dept_vl.data.own import is_own, read_own
from dept_vl.data.own.find import split_in_name
from dept_vl.data.text_sources import HubError
from dept_vl.untrusted.bad_file import BadFile
from tests.data.own_files import ROWS, bytes_of, write_delimited, write_json, write_lines, write_parquet, write_pictures


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.jsonl", "train"),
        ("validation.csv", "val"),
        ("my_dev.tsv", "val"),
        ("test-00000-of-00002.parquet", "test"),
        ("Train.json", "train"),
        ("trains.csv", None),
        ("train_val.csv", None),
        ("testdev.json", None),
        ("rows.csv", None),
    ],
)
def test_a_files_name_says_its_split(name, split):
    assert split_in_name(name) == split


def three(folder, write=write_lines, ending="jsonl"):
    for name, rows in (("train", ROWS[:2]), ("dev", ROWS[2:3]), ("test", ROWS[3:])):
        write(folder / f"{name}.{ending}", rows)
    return folder


def saved(folder):
    data = {
        name: datasets.Dataset.from_list([{**row, "image": {"bytes": bytes_of(row), "path": None}} for row in rows])
        for name, rows in (("train", ROWS[:2]), ("validation", ROWS[2:3]), ("test", ROWS[3:]))
    }
    data = {name: each.cast_column("image", datasets.Image()) for name, each in data.items()}
    datasets.DatasetDict(data).save_to_disk(str(folder / "saved"))
    return folder / "saved"


def image_folder(folder):
    for name, rows in (("train", ROWS[:2]), ("val", ROWS[2:3]), ("test", ROWS[3:])):
        (folder / name).mkdir()
        for row in rows:
            (folder / name / f"{row['image'][7:]}").write_bytes(bytes_of(row))
        write_delimited(folder / name / "metadata.csv", [{**row, "image": row["image"][7:]} for row in rows])
    return folder


def column(folder):
    names = ("train", "training", "validation", "test")
    return write_lines(folder / "x.jsonl", [{**row, "split": name} for row, name in zip(ROWS, names, strict=True)])


def shards(folder):
    (folder / "data").mkdir()
    for name, rows in (
        ("train-00000-of-00002", ROWS[:1]),
        ("train-00001-of-00002", ROWS[1:2]),
        ("validation", ROWS[2:3]),
        ("test", ROWS[3:]),
    ):
        rows = [{**row, "image": {"bytes": bytes_of(row), "path": "x.png"}} for row in rows]
        write_parquet(folder / "data" / f"{name}.parquet", rows)
    return folder


ROOTS = {
    "files": three,
    "delimited files": lambda folder: three(folder, write_delimited, "csv"),
    "save_to_disk": saved,
    "image folders": image_folder,
    "a column": column,
    "a hub's shards": shards,
}


@pytest.mark.parametrize("form", ROOTS)
def test_splits_of_every_form_are_train_val_and_test(tmp_path, form):
    root = ROOTS[form](write_pictures(tmp_path))
    assert is_own(root, "vqa")
    found = read_own(root, family="vqa", cache=tmp_path / "cache")
    questions = {split: [row["question"][-2] for row in rows] for split, rows in found.rows.items()}
    assert questions == {"train": ["0", "1"], "val": ["2"], "test": ["3"]}
    for split, rows in found.rows.items():
        for row in rows:
            assert found.image_paths[row["image"]].read_bytes() == bytes_of({"image": f"{row['question'][-2]}.png"}), (
                split
            )
    ids = [row["question_id"] for rows in found.rows.values() for row in rows]
    assert len(set(ids)) == 4


def test_every_file_that_was_read_is_named(tmp_path):
    found = read_own(three(write_pictures(tmp_path)), family="vqa")
    assert sum("'image' is the image" in note for note in found.notes) == 1
    [more] = [note for note in found.notes if "more files with the same columns: 2 (" in note]
    assert sum(name in more for name in ("train", "val", "test")) >= 2


def test_a_missing_shard_is_refused(tmp_path):
    root = shards(tmp_path)
    (root / "data" / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(BadFile, match="train-00000-of-00002.parquet: wanted 2 shards .* given 1"):
        read_own(root, family="vqa")


def test_several_tables_that_no_name_tells_apart_are_refused(tmp_path):
    for name in ("a.csv", "b.csv"):
        write_delimited(write_pictures(tmp_path) / name, ROWS)
    with pytest.raises(BadFile, match=r"tables named train, val and test, given 2 \('a.csv', 'b.csv'\)"):
        read_own(tmp_path, family="vqa")


def test_a_text_without_its_picture_and_a_picture_without_its_text_are_refused(tmp_path):
    write_pictures(tmp_path, 2)
    (tmp_path / "images" / "0.txt").write_text("a red square")
    with pytest.raises(BadFile, match="picture 2: wanted its caption in 1.txt"):
        read_own(tmp_path, family="caption")
    (tmp_path / "images" / "1.txt").write_text("a green square")
    (tmp_path / "images" / "2.txt").write_text("a blue square")
    with pytest.raises(BadFile, match=r"picture 3: wanted a picture of that name beside 2\.txt"):
        read_own(tmp_path, family="caption")
    with pytest.raises(BadFile, match="--task caption"):
        read_own(tmp_path, family="vqa")


def test_a_folder_without_a_table_and_an_absent_file_are_refused_by_name(tmp_path):
    with pytest.raises(MissingFile, match="docs/own_data.md"):
        read_own(write_pictures(tmp_path), family="vqa")
    with pytest.raises(MissingFile, match=r"x\.csv: wanted a file of rows"):
        is_own(tmp_path / "x.csv", "vqa")
    with pytest.raises(ValueError, match="Did you mean 'vizwiz'"):
        is_own("vizwizz:data", "vqa")
    assert not is_own(tmp_path, "vqa") and not is_own(tmp_path / "absent", "vqa")


def test_official_names_win(tmp_path):
    write_lines(tmp_path / "rows.jsonl", ROWS)
    assert is_own(tmp_path, "vqa") and is_own(tmp_path, "caption")
    write_json(tmp_path / "captions_val2014.json", {"images": [], "annotations": []})
    assert is_own(tmp_path, "vqa") and not is_own(tmp_path, "caption")
    write_json(tmp_path / "v2_OpenEnded_mscoco_val2014_questions.json", {})
    assert not is_own(tmp_path, "vqa")


def test_a_list_of_rows_called_captions_is_a_users_own(tmp_path):
    (tmp_path / "captions.json").write_text("\n" + json.dumps([{"image": "a.png", "caption": "a"}]))
    assert is_own(tmp_path, "caption")


def test_a_set_of_the_hub_is_read_through_datasets_and_its_absence_is_told(tmp_path, monkeypatch):
    folder, asked = saved(tmp_path), []
    whole = datasets.load_from_disk(str(folder))
    monkeypatch.setattr(datasets, "load_dataset", lambda *names: asked.append(names) or whole)
    assert is_own("hub:someone/pictures:small", "vqa")
    found = read_own("hub:someone/pictures:small", family="vqa", cache=tmp_path / "cache")
    assert asked == [("someone/pictures", "small")] and {name: len(rows) for name, rows in found.rows.items()} == {
        "train": 2, "val": 1, "test": 1,
    }  # fmt: skip

    def offline(*names):
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(HubError, match="hub:someone/pictures: .*ConnectionError: no route"):
        read_own("hub:someone/pictures", family="vqa")


def test_a_damaged_saved_set_names_its_folder(tmp_path):
    folder = saved(tmp_path)
    next((folder / "train").glob("*.arrow")).write_bytes(b"not arrow")
    with pytest.raises(BadFile, match="saved: wanted a data set that `save_to_disk` wrote"):
        read_own(folder, family="vqa")


def test_a_column_of_splits_wins_over_the_files_name(tmp_path):
    rows = [{**row, "split": name} for row, name in zip(ROWS, ("train", "train", "val", "test"), strict=True)]
    write_lines(write_pictures(tmp_path) / "test.jsonl", rows)
    assert {split: len(rows) for split, rows in read_own(tmp_path, family="vqa").rows.items()} == {
        "train": 2, "val": 1, "test": 1,
    }  # fmt: skip
    unread = read_own(tmp_path, family="vqa", columns={"split": ""})
    assert {split: len(rows) for split, rows in unread.rows.items()} == {"test": 4}
