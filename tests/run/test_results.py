"""What results.json holds and what is printed of it."""

import dataclasses
import json

import pytest

from dept_vl.config import Experiment, TaskConfig
from dept_vl.run import resolve, results
from dept_vl.run.results import recorded_baselines, summary

IDENTITIES = {"backbone": {"backbone_sha256": "b"}, "vision": {"vision_weights_sha256": "v"}}
FACTS = {
    "task": "vqa", "root": "shapes", "test_split": "test", "max_test_samples": None, "protocol": "official-2021",
    "max_steps": 1000, "rows": 64, "backbone_sha256": "b", "vision_weights_sha256": "v",
}  # fmt: skip


@pytest.fixture
def record(tmp_path, monkeypatch):
    (tmp_path / "recorded.json").write_text(json.dumps([{"name": "projection_only", "score": 0.5, "facts": FACTS}]))
    monkeypatch.setattr(results, "files", lambda package: tmp_path)


def recorded(**changes):
    return recorded_baselines(resolve(dataclasses.replace(Experiment(), **changes)), IDENTITIES)


def test_a_recorded_baseline_stands_beside_a_run_of_the_same_budget(record):
    assert recorded() == {"projection_only": 0.5}
    assert recorded(gradient_accumulation_steps=2, per_device_train_batch_size=32) != {}


@pytest.mark.parametrize(
    "changes",
    [
        {"max_steps": 999},
        {"per_device_train_batch_size": 32},
        {"task": TaskConfig(protocol="always")},
        {"task": TaskConfig(test_split="val")},
        {"task": TaskConfig(max_test_samples=10)},
        {"task": TaskConfig(root="data/vqa2")},
    ],
)
def test_a_run_of_another_budget_or_data_has_no_recorded_baseline(record, changes):
    assert recorded(**changes) == {}


def test_the_shipped_records_name_their_command_and_seed():
    records = json.loads(results.files("dept_vl.embedded").joinpath("recorded.json").read_text(encoding="utf-8"))
    assert {each["facts"]["task"] for each in records} == {"vqa", "caption"}
    for each in records:
        assert set(each) == {"name", "score", "seed", "command", "facts"} and set(each["facts"]) == set(FACTS)


def test_what_was_dropped_or_cut_is_printed():
    shown = summary(
        {
            "task": "vqa", "adapter": "dept", "protocol": "always",
            "baselines": {"blind": 0.25, "projection_only": 0.5},
            "recorded": ["projection_only"], "metrics": {"test": {"vqa_accuracy": 0.75}},
            "selection": {"reported": "vqa_accuracy"}, "started_from": {"folder": None, "not_copied": []},
            "counts": {"train": {"examples": 9, "dropped_no_answer": 3, "sources_cut": 0}},
            "weights": {"trained": 1000, "total": 2000, "share": 0.5}, "train_info": {"train_time": 2.2},
        }
    )  # fmt: skip
    assert "train: dropped_no_answer 3" in shown and "sources_cut" not in shown and "examples" not in shown
    assert "75.00" in shown and "recorded, docs/results.md" in shown and "1,000 of 2,000" in shown
