"""Complete runs over ten pictures of a user's own: what is said before, and what the run folder then holds."""

import dataclasses
import json

import pytest

from dept_vl.run.execute import run
from dept_vl.run.own_data import load_own
from dept_vl.run.own_scores import score_own_file
from dept_vl.run.saved import score_adapter
from dept_vl.saved import read_adapter
from dept_vl.tasks import TASKS
from dept_vl.vision import hashes
from tests.data.own_files import COLOURS, bytes_of, write_delimited, write_lines, write_parquet, write_pictures
from tests.tiny_runs import forget_accelerate, json_lines, tiny_experiment

ROWS = [
    {"image": f"images/{number}.png", "question": "Which colour?", "answers": [colour] * 10}
    for number, colour in enumerate(COLOURS)
]

ROWS_OF_ONE = [{**row, "answers": row["answers"][:1]} for row in ROWS]


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


def test_an_adapter_is_scored_on_the_rows_that_its_run_held_out(own, byte_t5, tmp_path, monkeypatch):
    write_pictures(tmp_path / "photos", 10)
    rows = [{**row, "answers": [row["answers"][0], "none"]} for row in ROWS]
    data = {"root": str(write_lines(tmp_path / "mine.jsonl", rows)), "image_root": str(tmp_path / "photos")}
    results = run(own(**data, split_shares=(0.6, 0.2, 0.2)))
    assert read_adapter(tmp_path / "run").config["task"]["split_shares"] == [0.6, 0.2, 0.2]
    monkeypatch.chdir(tmp_path)
    model = {"adapter": str(tmp_path / "run"), "task": "vqa", "backbone": str(byte_t5)}
    scored = score_adapter(**model, **data, predictions="scored.jsonl")
    test = results["metrics"]["test"]
    assert test["best_match"] >= 0 and {name: scored[name] for name in test} == test
    held_out = {row["id"] for row in json_lines(tmp_path / "run" / "predictions.jsonl")}
    assert {row["id"] for row in json_lines(tmp_path / "scored.jsonl")} == held_out and len(held_out) == 2
    forget_accelerate()
    one = write_lines(tmp_path / "one.jsonl", ROWS_OF_ONE)
    other = {**data, "root": str(one), "split_shares": (0.2, 0.1, 0.7)}
    scored = score_adapter(**model, **other)
    assert scored["reported"] == "best_match" and scored["counts"]["examples"] == 7
    given = {"results": tmp_path / "run" / "predictions.jsonl", "task": "vqa", "split": "test", **data}
    assert score_own_file(**given, split_shares=(0.6, 0.2, 0.2))["best_match"] == test["best_match"]
    with pytest.raises(ValueError, match="one prediction for each of 1 question"):
        score_own_file(**given)


@pytest.mark.usefixtures("afresh")
def test_a_first_run_keeps_the_hashes_of_its_pictures(own, tmp_path, monkeypatch):
    monkeypatch.setattr(hashes, "_SETTLED_NS", -1)  # else files so young are not remembered
    path = write_lines(write_pictures(tmp_path, 10) / "mine.jsonl", ROWS)
    config = own(path)
    features = tmp_path / "new" / "features"
    config = dataclasses.replace(config, vision=dataclasses.replace(config.vision, feature_dir=str(features)))
    assert load_own(config, path, {"train": ("train", None)}, TASKS["vqa"])["train"].counts["examples"] == 8
    assert len(json.loads((features / "hashes.json").read_text())) == 10
