"""Predictions files against a user's own data, without a model."""

import json

import pytest

from dept_vl.data.sources import Loaded
from dept_vl.metrics.vqa import TooFewAnswers
from dept_vl.run import own_scores
from dept_vl.run.own_scores import read_predictions, score_own_file
from dept_vl.untrusted.bad_file import BadFile


@pytest.fixture
def own(monkeypatch):
    """Rows of a file of pictures in place of its reader: what is scored is the same whatever read them."""

    def give(rows, **counts):
        def read_splits(config, task, splits):
            read_splits.given = (
                config.task.root.rpartition("/")[2],
                task.name,
                config.task.columns,
                config.task.on_bad_row,
            )
            examples = [task.read(row) for row in rows]
            loaded = Loaded(examples, {"in_split": len(rows), **counts}, {}, ("'photo' is the image",))
            return {role: loaded for role, (split, limit) in splits.items() if (split, limit) == ("all", None)}

        monkeypatch.setattr(own_scores, "read_splits", read_splits)
        return read_splits

    return give


def asked(*answers):
    return [
        {"question_id": f"pets-{place}", "image": "1.jpg", "question": "What?", "answers": each}
        for place, each in enumerate(answers)
    ]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def files(tmp_path):
    answers = ["A cat.", "2", "blu"]
    rows = [{"id": f"pets-{place}", "prediction": answer} for place, answer in enumerate(answers)]
    (tmp_path / "pets.csv").write_text("the reader is a stand-in\n")
    return {"results": write(tmp_path / "p.jsonl", rows), "root": str(tmp_path / "pets.csv"), "task": "vqa"}


@pytest.mark.parametrize(
    ("answers", "given", "name", "value"),
    [
        ((("cat",), ("two",), ("blue",)), {}, "exact_match", 2 / 3),
        ((("cat", "dog"), ("3",), ("blue", "sky blue")), {}, "best_match", 1 / 3),
        ((("cat",), ("two",), ("blue",)), {"score": "anls"}, "anls", (0.5 + 0.75) / 3),
        ((("cat",), ("2.1",), ("blue",)), {"score": "relaxed_accuracy"}, "relaxed_accuracy", 1 / 3),
        ((("a cat",), ("2",), ("blue",)), {"score": "token_f1"}, "token_f1", 2 / 3),
        ((("cat",) * 10, ("2",) * 3 + ("two",), ("blue",) * 9 + ("blu",)), {}, "vqa_accuracy", (0 + 1 + 0.3) / 3),
    ],
)
def test_a_predictions_file_is_scored_as_the_answers_allow(own, files, answers, given, name, value):
    reader = own(asked(*answers), skipped_bad_rows=1)
    scored = score_own_file(**files, columns={"image": "photo"}, on_bad_row="skip", **given)
    assert scored[name] == pytest.approx(value) and scored["reported"] == name
    assert reader.given == ("pets.csv", "vqa", {"image": "photo"}, "skip")
    assert scored["counts"] == {"in_split": 3, "skipped_bad_rows": 1} and scored["warnings"] == []
    assert scored["notes"] == ["'photo' is the image"]


def test_vqa_accuracy_of_few_answers_is_refused_where_it_is_asked_for(own, files):
    own(asked(("cat",), ("two",), ("blue",)))
    with pytest.raises(TooFewAnswers, match="wanted at least 4 .* given 1"):
        score_own_file(**files, score="vqa_accuracy")


def test_every_row_has_to_be_predicted(own, files):
    own(asked(("cat",), ("two",), ("blue",), ("red",)))
    with pytest.raises(ValueError, match="given 3: missing 1 .'pets-3'."):
        score_own_file(**files)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prediction": "a"}, "wanted id or question_id or image_id as a number or text in line 2, given None"),
        ({"id": 1.5, "prediction": "a"}, "wanted .* in line 2, given 1.5"),
        ({"id": 1}, "wanted prediction or answer or caption as text in line 2, given None"),
        ({"id": 0, "answer": "a"}, "wanted every id once, given repeated: 1 .0."),
    ],
)
def test_a_bad_prediction_is_named_by_file_and_line(tmp_path, row, message):
    file = write(tmp_path / "p.jsonl", [{"question_id": 0, "answer": "a"}, row])
    with pytest.raises(BadFile, match=f"p.jsonl: {message}"):
        read_predictions(file)


def test_official_results_are_predictions_too(tmp_path):
    (tmp_path / "r.json").write_text('[{"question_id": 7, "answer": "red"}, {"image_id": "b", "caption": "a bus"}]')
    assert read_predictions(tmp_path / "r.json") == {7: "red", "b": "a bus"}
