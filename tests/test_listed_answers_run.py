"""VQA that chooses among a list of answers: from the config over a run and its folder to served and scored adapters."""

import json

import pytest
import yaml

from dept_vl import AdaptedModel
from dept_vl.config import BadConfig
from dept_vl.run.answers import listed_answers
from dept_vl.run.execute import run
from dept_vl.run.saved import score_adapter
from dept_vl.saved import BadAdapterFolder, read_adapter
from dept_vl.tasks import VqaTask
from tests.tiny_runs import forget_accelerate, json_lines, tiny_experiment


@pytest.fixture(scope="module")
def make(place, byte_t5):
    def make(output, **task):
        given = {"vision": {"feature_dir": str(place / "features")}, "task": {"max_source_length": 80, **task}}
        return tiny_experiment(byte_t5, place / "clip", place / "shapes", output, **given)

    return make


@pytest.fixture(scope="module")
def finished(make, tmp_path_factory):
    """A run that chooses among the three commonest answers, its results, and what it said of its data."""
    folder, lines = tmp_path_factory.mktemp("listed") / "run", []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        forget_accelerate()
        yield folder, run(make(folder, answers=3), report=lines.append), lines
        forget_accelerate()


def answers_of(folder):
    return read_adapter(folder).config["task"]["answers"]


def test_a_run_answers_among_the_commonest_of_its_training_set(finished):
    folder, results, lines = finished
    assert len(answers_of(folder)) == 3
    assert {row["prediction"] for row in json_lines(folder / "predictions.jsonl")} <= set(answers_of(folder))
    assert yaml.safe_load((folder / "config.yaml").read_text())["task"]["answers"] == 3
    [told] = [line for line in lines if line.startswith("answers are chosen among 3; questions with one of them: ")]
    rows = json_lines(folder / "predictions.jsonl")
    within = sum(not set(row["references"]).isdisjoint(answers_of(folder)) for row in rows)
    assert told.endswith(f"test {within}") and 0 < within < len(rows)
    assert results["metrics"]["test"]["vqa_accuracy"] <= within / len(rows)


def test_without_a_list_the_same_run_says_something_else(finished, make, tmp_path, afresh):
    run(make(tmp_path / "free"))
    assert "answers" not in read_adapter(tmp_path / "free").config["task"]
    rows = json_lines(tmp_path / "free" / "predictions.jsonl")
    assert not {row["prediction"] for row in rows} <= set(answers_of(finished[0]))


@pytest.mark.usefixtures("afresh")
def test_the_list_is_served_and_scored_with_the_adapter(finished, place, byte_t5):
    folder, results, _ = finished
    rows = json_lines(folder / "predictions.jsonl")
    model = AdaptedModel.from_pretrained(folder, backbone=byte_t5)
    pictures = [place / "shapes" / "images" / row["image"] for row in rows]
    assert model.answer(pictures, [row["text"] for row in rows]) == [row["prediction"] for row in rows]
    scored = score_adapter(str(folder), "vqa", str(place / "shapes"), backbone=str(byte_t5))
    assert scored["vqa_accuracy"] == results["metrics"]["test"]["vqa_accuracy"]


@pytest.mark.usefixtures("afresh")
def test_a_file_of_answers_is_a_list_too(make, tmp_path):
    (tmp_path / "answers.txt").write_text("yes\nno\n\n  blue \n", encoding="utf-8")
    run(make(tmp_path / "run", answers=str(tmp_path / "answers.txt")))
    assert answers_of(tmp_path / "run") == ["yes", "no", "blue"]
    assert {row["prediction"] for row in json_lines(tmp_path / "run" / "predictions.jsonl")} <= {"yes", "no", "blue"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (1, "task.answers: wanted at least 2 answers to choose among, given 1"),
        (("yes", " "), r"at least 2 answers to choose among, given \['yes'\]"),
        (("yes", "no", "yes "), r"every answer once, given several times: 1 \('yes'\)"),
        ("nowhere.txt", "a text file with an answer in each line, given 'nowhere.txt' .No such file"),
    ],
)
def test_a_list_that_is_none_is_refused(given, message):
    with pytest.raises(BadConfig, match=message):
        listed_answers(given)


def test_a_file_in_another_encoding_is_refused_with_what_it_looks_like(tmp_path):
    (tmp_path / "answers.txt").write_bytes("déjà vu\nno\n".encode("latin-1"))
    with pytest.raises(BadConfig, match="answers.txt: they look like Latin-1"):
        listed_answers(str(tmp_path / "answers.txt"))


@pytest.mark.usefixtures("afresh")
def test_other_tasks_have_no_list(make, tmp_path):
    with pytest.raises(BadConfig, match="task.answers: only vqa has them, given 3 for caption"):
        run(make(tmp_path / "run", name="caption", answers=3))


def test_equally_common_answers_come_by_their_spelling():
    rows = [("blue", "blue", "red"), ("blue",), ("amber",), ("red",), ("red",), ("cyan",)]
    task = VqaTask(metric="best_match")
    examples = [task.read({"question_id": place, "image": "a.png", "question": "What?", "answers": each})
                for place, each in enumerate(rows)]  # fmt: skip
    assert task.among_commonest(examples, 3).candidates == ("red", "blue", "amber")
    assert task.among_commonest(examples, 99).candidates == ("red", "blue", "amber", "cyan")


def test_a_damaged_list_in_an_adapter_folder_is_refused(finished, tmp_path):
    config = json.loads((finished[0] / "adapter_config.json").read_text())
    config["task"]["answers"] = ["yes", 3]
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(BadAdapterFolder, match="task.answers as a list of texts"):
        read_adapter(tmp_path)
