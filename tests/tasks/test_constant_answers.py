"""What a score is read against: answers that need no model."""

import pytest

from dept_vl.metrics.captions import constant_cider, score_captions
from dept_vl.tasks import TASKS, CaptionTask, Example, VqaTask, caption


def asked(id, kind, *answers):
    return Example(id, "q", answers[:1], (1.0,), answers, question_type=kind)


def test_majority_is_the_commonest_answer_of_the_questions_type():
    train = [
        asked(1, "count", "2", "two", "3"),
        asked(2, "count", "3"),
        asked(3, "color", "Red", "red.", "blue"),
        asked(4, "color", "blue", "red"),
        asked(5, "size", "red"),
    ]
    test = [asked(7, "count", "9"), asked(8, "color", "9"), asked(9, "new", "9")]
    assert VqaTask().constant_answers(train, [], test)["majority"] == {7: "2", 8: "red", 9: "red"}


def pictured(id, *captions):
    return Example(id, "caption:", captions, (1 / len(captions),) * len(captions), captions)


TRAIN = [
    pictured(1, "a dog runs on the grass", "a dog runs", "a cat"),
    pictured(2, "a dog runs on the grass", "two birds fly over a lake"),
]
EVAL = [
    pictured(3, "two birds fly over a lake", "birds fly over the water"),
    pictured(4, "two birds fly over the sea", "some birds"),
    pictured(5, "a bus on a street", "a red bus"),
]


def constant(train, val):
    """The constant answer, which every test image gets."""
    answers = CaptionTask().constant_answers(train, val, [pictured(8, "x"), pictured(9, "y")])["constant"]
    assert len(set(answers.values())) == 1 and set(answers) == {8, 9}
    return answers[8]


def test_the_best_constant_caption_has_the_highest_cider_of_all_candidates():
    references = {example.id: example.references for example in EVAL}
    captions = sorted({caption for example in TRAIN for caption in example.references})
    scores = {
        caption: score_captions(dict.fromkeys(references, caption), references, metrics=("CIDEr",))["CIDEr"]
        for caption in captions
    }
    best = constant(TRAIN, EVAL)
    assert best == "two birds fly over a lake" == max(scores, key=scores.get)
    assert constant_cider(captions, references) == pytest.approx(list(scores.values()))


def test_candidates_are_the_commonest_captions(monkeypatch):
    monkeypatch.setattr(caption, "_CANDIDATES", 1)
    assert constant(TRAIN, EVAL) == "a dog runs on the grass"


def test_a_text_tasks_constant_is_the_commonest_training_answer():
    train, test = [labelled(1, "0"), labelled(2, "1"), labelled(3, "1")], [labelled(4, "0"), labelled(5, "1")]
    assert TASKS["cola"].constant_answers(train, [], test) == {"majority": {4: "1", 5: "1"}}


def labelled(id, label):
    return Example(id, "sentence: s", (label,), (1.0,), (label,))
