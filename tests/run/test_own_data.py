"""Complete runs over ten pictures of a user's own: what is said before, and what the run folder then holds."""

import json

import pytest

from dept_vl.run.execute import run
from dept_vl.run.saved import score_adapter
from tests.data.own_files import COLOURS, bytes_of, write_delimited, write_lines, write_parquet, write_pictures
from tests.tiny_runs import json_lines, tiny_experiment

ROWS = [
    {"image": f"images/{number}.png", "question": "Which colour?", "answers": [colour] * 10}
    for number, colour in enumerate(COLOURS)
]


@pytest.fixture
def own(place, byte_t5, tmp_path, afresh):
    def own(root, name="vqa", **task):
        return tiny_experiment(byte_t5, place / "clip", root, tmp_path / "run", task={"name": name, **task})

    return own


def test_a_csv_of_ten_pictures_trains_evaluates_and_tells_what_it_understood(own, tmp_path):
    path = write_delimited(write_pictures(tmp_path, 10) / "mine.csv", [*ROWS, {**ROWS[0], "image": "images/11.png"}])
    notes = []
    results = run(own(path, on_bad_row="skip"), report=notes.append)
    counts = results["counts"]
    assert {role: each["examples"] for role, each in counts.items()} == {"train": 8, "eval": 1, "test": 1}
    assert counts["train"]["skipped_bad_rows"] == 1 and 0 <= results["metrics"]["test"]["vqa_accuracy"] <= 1
    assert len(notes) == len(set(notes)) and any("train 8 rows of 8 images" in note for note in notes)
    [skipped] = json_lines(tmp_path / "run" / "skipped_rows.jsonl")
    assert skipped["place"] == "line 12" and skipped["column"] == "image" and "11.png" in skipped["reason"]
    [test] = json_lines(tmp_path / "run" / "predictions.jsonl")
    assert test["image"] in {row["image"] for row in ROWS} and test["references"] == [test["references"][0]] * 10
    assert json.loads((tmp_path / "run" / "results.json").read_text())["meta_info"]["dataset_info"]["root"] == str(path)


def test_pictures_in_parquet_caption_too_and_are_kept_beside_the_features(own, tmp_path, meteor_at_once):
    rows = [{"image": bytes_of(row), "caption": f"a {row['answers'][0]} square"} for row in ROWS]
    path = write_parquet(tmp_path / "mine.parquet", rows)
    config = own(path, "caption", template="caption:", max_target_length=24)
    results = run(config)
    assert results["counts"]["train"]["examples"] == 8 and "CIDEr" in results["metrics"]["test"]
    assert len(list((tmp_path / "own_images").rglob("*.png"))) == 10


def test_an_adapter_is_scored_on_own_rows(own, byte_t5, tmp_path, monkeypatch):
    write_pictures(tmp_path, 10)
    run(own(write_lines(tmp_path / "mine.jsonl", ROWS)))
    monkeypatch.chdir(tmp_path)
    scored = score_adapter(
        str(tmp_path / "run"), "vqa", str(tmp_path / "mine.jsonl"), split="all", backbone=str(byte_t5)
    )
    assert scored["counts"]["examples"] == 10 and "vqa_accuracy" in scored
