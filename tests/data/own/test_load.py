"""A user's own rows as splits of examples, in the form that a run takes."""

import json
import tempfile
from pathlib import Path

import pytest

from dept_vl.data.own import load_own_splits
from dept_vl.data.sources import EmptySplit
from dept_vl.tasks import TASKS
from tests.data.own_files import COLOURS, write_delimited, write_lines, write_pictures

ROLES = {"train": ("train", None), "eval": ("val", None), "test": ("test", None)}
ROWS = [
    {"image": f"images/{number}.png", "question": f"Which colour, asked {k}?", "answers": [COLOURS[number]] * 4}
    for number in range(10)
    for k in range(2)
]


@pytest.fixture
def root(tmp_path):
    return write_lines(write_pictures(tmp_path, 10) / "rows.jsonl", ROWS)


def test_splits_have_their_examples_counts_pictures_and_notes(root):
    loaded = load_own_splits(root, ROLES, TASKS["vqa"])
    sizes = {
        role: (each.counts["read"], each.counts["examples"], each.counts["images"]) for role, each in loaded.items()
    }
    assert sizes == {"train": (20, 16, 8), "eval": (20, 2, 1), "test": (20, 2, 1)}
    for each in loaded.values():
        assert each.counts["in_split"] == each.counts["examples"] and not each.skipped
        assert set(each.image_paths) == {example.image for example in each.examples}
        assert each.notes == loaded["train"].notes
    train = loaded["train"].examples[0]
    assert train.references == (COLOURS[int(train.image[7:-4])],) * 4
    assert any("'image' is the image, 'question' is the question, 'answers' is the answers" in n for n in each.notes)
    assert any("train 16 rows of 8 images, val 2 rows of 1 image, test 2 rows of 1 image" in n for n in each.notes)


def test_a_limit_takes_the_first_and_all_takes_every_row(root):
    loaded = load_own_splits(root, {"few": ("train", 3), "all": ("all", None)}, TASKS["vqa"])
    assert len(loaded["few"].examples) == 3 and loaded["few"].counts["in_split"] == 16
    assert len(loaded["few"].image_paths) < 4 and len(loaded["all"].examples) == 20
    with pytest.raises(ValueError, match="split: .*Did you mean 'val'"):
        load_own_splits(root, {"x": ("vall", None)}, TASKS["vqa"])


def test_a_split_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    write_pictures(tmp_path, 10)
    write_lines(tmp_path / "test.jsonl", ROWS)
    with pytest.raises(EmptySplit, match=r"wanted rows in split 'train', given none; there are test \(20\)"):
        load_own_splits(tmp_path, ROLES, TASKS["vqa"])


def test_skipped_rows_are_counted_and_kept(root):
    write_lines(root, [*ROWS, {**ROWS[0], "image": "images/99.png"}])
    loaded = load_own_splits(root, ROLES, TASKS["vqa"], on_bad_row="skip")
    assert {each.counts["skipped_bad_rows"] for each in loaded.values()} == {1}
    assert [each["place"] for each in loaded["test"].skipped] == ["line 21"]


def test_captions_of_an_image_stay_together(tmp_path):
    rows = [{"file": f"{number}.png", "caption": f"{COLOURS[number]} {k}"} for number in range(10) for k in range(3)]
    path = write_delimited(write_pictures(tmp_path, 10) / "captions.csv", rows)
    loaded = load_own_splits(
        path, ROLES, TASKS["caption"], shares=(0.6, 0.2, 0.2), image_root=tmp_path / "images", columns={"image": "file"}
    )
    assert {role: len(each.examples) for role, each in loaded.items()} == {"train": 6, "eval": 2, "test": 2}
    assert all(len(example.targets) == 3 for each in loaded.values() for example in each.examples)
    assert loaded["test"].columns == {"image": "file"}
    assert any("30 rows are the captions of 10 images" in note for note in loaded["train"].notes)


def test_files_may_count_their_questions_each_from_the_same_number(tmp_path):
    write_pictures(tmp_path, 10)
    for name, rows in (("train", ROWS[:16]), ("test", ROWS[16:])):
        write_lines(tmp_path / f"{name}.jsonl", [{**row, "id": place} for place, row in enumerate(rows)])
    loaded = load_own_splits(tmp_path, {**ROLES, "all": ("all", None)}, TASKS["vqa"])
    assert [example.id for example in loaded["test"].examples] == [0, 1, 2, 3]
    ids = [example.id for example in loaded["all"].examples]
    assert len(set(ids)) == 20 and "test-0" in ids and sum(id.endswith("-0") for id in ids) == 2


def test_names_beyond_ascii_and_with_blanks_are_found(cases):
    folder = cases / "own_vqa" / "chinese"
    names = sorted(path.name for path in (folder / "images").iterdir())
    assert any("ü" in name and " " in name for name in names)
    with tempfile.TemporaryDirectory() as place:
        rows = [{"image": name, "question": "这是什么?", "answers": ["红色"] * 4} for name in names]
        path = write_delimited(Path(place) / "rows.csv", rows)
        loaded = load_own_splits(path, {"all": ("all", None)}, TASKS["vqa"], image_root=folder / "images")["all"]
    assert {example.text for example in loaded.examples} == {"这是什么?"} and len(loaded.image_paths) == len(names)


def test_real_rows_are_read_and_those_without_captions_listed(real):
    path = real / "coco_open" / "joined.jsonl"
    columns = {"split": "karpathy_split"}
    loaded = load_own_splits(path, {"all": ("all", None)}, TASKS["caption"], columns=columns, on_bad_row="skip")["all"]
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    good = [row for row in rows if row["captions"] and row["karpathy_split"]]
    assert {example.image: example.references for example in loaded.examples} == {
        f"images/{row['file_name']}": tuple(caption.strip() for caption in row["captions"]) for row in good
    }
    assert loaded.counts["read"] == len(rows) and len(loaded.skipped) == len(rows) - len(good) > 0


def test_every_row_of_a_file_is_read_though_too_few_are_there_to_divide(tmp_path):
    root = write_lines(write_pictures(tmp_path, 1) / "rows.jsonl", ROWS[:2])
    loaded = load_own_splits(root, {"test": ("all", None)}, TASKS["vqa"])["test"]
    assert len(loaded.examples) == 2 and any(note.endswith("rows.jsonl: all 2 rows") for note in loaded.notes)
    with pytest.raises(ValueError, match="images to draw splits from: wanted at least 3 .* given 1"):
        load_own_splits(root, {"test": ("test", None)}, TASKS["vqa"])
