"""The task that a user describes in a config: classes or free answers, and their scores."""

import dataclasses

import pytest

from dept_vl.tasks import OWN_TEXT, TASKS
from dept_vl.tasks.own_text import BadLabels, needed_fields, with_labels
from dept_vl.tasks.text_task import BadRow

ROW = {"id": "films-3", "source": "A dull film.", "target": ("bad",)}
CLASSES = with_labels(OWN_TEXT, ["bad", " good"])


def test_labels_make_classes_that_are_chosen_by_name():
    example = CLASSES.read(ROW)
    assert (example.id, example.source, example.targets, example.context) == ("films-3", "A dull film.", ("bad",), None)
    assert CLASSES.candidates == ("bad", "good") and CLASSES.label_meanings == {"bad": "bad", "good": "good"}
    assert (CLASSES.headline, CLASSES.selecting) == ("accuracy", ("accuracy", "f1_macro"))
    digits = dataclasses.replace(CLASSES, label_form="digits")
    assert digits.read(ROW).targets == ("0",) and digits.label_meanings == {"0": "bad", "1": "good"}
    with pytest.raises(BadRow, match="own_text: row 'films-3': wanted one of bad, good, given '0'"):
        CLASSES.read(ROW | {"target": ("0",)})


def test_classes_are_scored_by_accuracy_and_macro_f1():
    examples = [
        CLASSES.read({"id": n, "source": "x", "target": (name,)}) for n, name in enumerate(["bad", "bad", "good"])
    ]
    scores = CLASSES.score({0: "bad", 1: "good", 2: "good"}, examples)
    assert scores["accuracy"] == pytest.approx(2 / 3) and scores["f1_macro"] == pytest.approx(2 / 3)
    assert scores["invalid_outputs"] == 0 and scores["protocol"] == "own_splits"


def test_free_answers_are_scored_by_exact_match_and_token_f1_against_the_best():
    rows = [{"id": 1, "source": "x", "target": ("the red car", "a bus")}, {"id": 2, "source": "x", "target": ("two",)}]
    examples = [OWN_TEXT.read(row) for row in rows]
    assert examples[0].targets == ("the red car", "a bus") and examples[0].weights == (0.5, 0.5)
    scores = OWN_TEXT.score({1: "Red car!", 2: "two dogs"}, examples)
    assert scores["exact_match"] == 0.5 and scores["token_f1"] == pytest.approx((1 + 2 / 3) / 2)
    assert OWN_TEXT.headline == "exact_match" and OWN_TEXT.candidates == ()


def test_a_template_says_which_fields_a_row_needs():
    task = dataclasses.replace(OWN_TEXT, template="premise: {premise} hypothesis: {hypothesis}")
    assert needed_fields(task) == ("hypothesis", "premise", "target") and needed_fields(OWN_TEXT) == (
        "source",
        "target",
    )
    with pytest.raises(ValueError, match="own_text: wanted a template with a field in braces, given 'classify:'"):
        dataclasses.replace(OWN_TEXT, template="classify:")


@pytest.mark.parametrize("labels", [["bad"], ["bad", "bad "], ["bad", ""], []])
def test_labels_that_cannot_be_told_apart_are_refused(labels):
    with pytest.raises(BadLabels, match="task.labels: wanted at least two different labels, given"):
        with_labels(OWN_TEXT, labels)


def test_it_is_found_by_its_name():
    assert TASKS["own_text"] is OWN_TEXT
