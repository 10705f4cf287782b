"""A task of a user's own, from a CSV to a score: trained, saved, evaluated and asked, without any Python of theirs."""

import dataclasses
import json

import pytest

from dept_vl import AdaptedModel
from dept_vl.config import BadConfig, load_experiment
from dept_vl.run.execute import run, run_each
from dept_vl.run.own_scores import score_own_file
from dept_vl.run.predictions import find_rows, predict_rows
from dept_vl.run.results import summary
from dept_vl.run.saved import score_adapter
from tests.tiny_runs import forget_accelerate, json_lines, text_experiment

TASK = {"name": "own_text", "max_source_length": 24, "labels": ("bad", "good"), "columns": {"source": "Film review"}}


def write_films(path, number=60):
    rows = [
        f'"a {("dull", "nice")[place % 2]} film, number {place}",{("bad", "good")[place % 2]}'
        for place in range(number)
    ]
    path.write_text("\n".join(["Film review,label", *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The file, the run folder, what `run_each` gave and what it told."""
    folder = tmp_path_factory.mktemp("own")
    file = write_films(folder / "films.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        forget_accelerate()
        told = []
        config = text_experiment("tiny-t5", file, folder / "run", task=TASK, max_steps=5, eval_steps=5)
        [(_, results)] = run_each(config, told.append)
        yield file, folder / "run", results, told
        forget_accelerate()


def test_five_steps_on_a_csv_leave_a_score_under_its_name(finished):
    _, folder, results, told = finished
    results = json.loads((folder / "results.json").read_text())
    test = results["metrics"]["test"]
    assert results["task"] == "own_text" and results["selection"]["reported"] == "accuracy"
    assert 0 <= test["accuracy"] <= 1 and 0 <= test["f1_macro"] <= 1 and test["invalid_outputs"] == 0
    assert results["labels"] == {"bad": "bad", "good": "good"} and set(results["baselines"]) == {"majority"}
    assert [results["counts"][role]["examples"] for role in ("train", "eval", "test")] == [48, 6, 6]
    shown = summary(results)
    assert shown.startswith("own_text: test accuracy x 100 (own_splits)\n") and "f1_macro" in shown
    assert "own_text" in (folder / "report.html").read_text()
    assert told == [*results["data"]["notes"], *told[-2:]] and results["data"]["also_in_train"] == {}
    assert told[-2] == "examples: train 48, eval 6, test 6; scored by accuracy"
    assert told[-1] == "no text is longer than max_source_length 24 and max_target_length 32"


def test_the_config_says_what_was_asked_for_and_the_adapter_which_columns_were_found(finished):
    task = load_experiment(finished[1] / "config.yaml").task
    assert task.columns == TASK["columns"] and task.labels == ("bad", "good")
    facts = json.loads((finished[1] / "adapter_config.json").read_text())["task"]
    assert facts["columns"] == {"source": "Film review", "target": "label"}
    assert task.label_form == "words" and task.protocol == "own_splits"


@pytest.mark.usefixtures("afresh")
def test_the_adapter_scores_and_labels_the_file_as_in_its_run(finished, tmp_path):
    file, folder, results, _ = finished
    scored = score_adapter(str(folder), "own_text", root=str(file))
    assert {name: scored[name] for name in results["metrics"]["test"]} == results["metrics"]["test"]
    assert score_adapter(str(folder), "own_text", root=str(file), split="all", limit=4)["counts"]["in_split"] == 60
    rows = find_rows(folder, file)
    model = AdaptedModel.from_pretrained(folder)
    answered = list(predict_rows(model, rows[:4]))
    assert [each["Film review"] for each in answered] == [each["Film review"] for each in rows[:4]]
    assert {each["prediction"] for each in answered} <= {"bad", "good"}
    assert model.classify(["a nice film"]) in (["bad"], ["good"])


def test_predictions_of_the_run_are_scored_without_a_model(finished):
    file, folder, results, _ = finished
    given = {"root": str(file), "task": "own_text", "columns": TASK["columns"], "labels": TASK["labels"]}
    scored = score_own_file(folder / "predictions.jsonl", split="test", **given)
    assert scored["accuracy"] == results["metrics"]["test"]["accuracy"] and scored["reported"] == "accuracy"
    with pytest.raises(ValueError, match="wanted one prediction for each of 60 row ids, given 6"):
        score_own_file(folder / "predictions.jsonl", **given)


@pytest.mark.usefixtures("afresh")
def test_free_answers_with_a_template_of_ones_own(byte_t5, tmp_path):
    file = write_films(tmp_path / "films.csv", 30)
    task = {"name": "own_text", "template": "review: {review} sentiment:", "columns": {"review": "Film review"}}
    task |= {"max_source_length": 60, "max_target_length": 6}
    config = text_experiment(byte_t5, file, tmp_path / "run", task=task, max_steps=2, eval_steps=2)
    results = run(dataclasses.replace(config, metric_for_best_model="token_f1"))
    assert results["selection"] == {"metric": "token_f1", "reported": "exact_match", "split": "val"}
    assert {"exact_match", "token_f1"} <= set(results["metrics"]["test"]) and results["labels"] == {}
    row = json_lines(tmp_path / "run" / "predictions.jsonl")[0]
    assert row["text"].startswith("review: a ") and row["text"].endswith(" sentiment:")


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"name": "cola", "labels": ("a", "b")}, "task.labels: only own_text takes them, given .*'a', 'b'.* for cola"),
        ({"name": "cola", "columns": {"source": "x"}}, "task.columns: only your own data has them, given .* for cola"),
        ({"name": "cola", "score": "anls"}, "task.score: only vqa has a choice of scores, given 'anls' for cola"),
        ({"name": "own_text", "labels": ("a",)}, "task.labels: wanted at least two different labels"),
    ],
)
def test_settings_of_another_task_are_refused(tmp_path, task, message):
    with pytest.raises(ValueError, match=message):
        run(text_experiment(tmp_path / "no-model", tmp_path, tmp_path / "run", task=task))


@pytest.mark.usefixtures("afresh")
def test_the_generated_root_is_not_a_file_of_ones_own(tmp_path):
    with pytest.raises(BadConfig, match="task.root: wanted a file of your own: docs/own_data.md, .* given 'shapes'"):
        run(text_experiment(tmp_path / "no-model", "shapes", tmp_path / "run", task={"name": "own_text"}))
