from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from dept_vl.metrics.multirc import multirc_scores

TASK = SimpleNamespace(labels=("0", "1"))


def score(*answers):
    """answers: question, gold, prediction."""
    examples = [SimpleNamespace(id=i, group=each[0], references=(each[1],)) for i, each in enumerate(answers)]
    return multirc_scores(TASK, [prediction for _, _, prediction in answers], examples)


def test_three_questions_by_hand():
    scores = score(
        *[("0-0", "1", "1"), ("0-0", "0", "0")],  # all right: both classes have F1 1
        *[("0-1", "1", "1"), ("0-1", "1", "0"), ("0-1", "0", "0")],  # F1 2/3 of either class
        *[("1-2", "0", "1")],  # F1 0 of either class
    )
    assert scores["exact_match"] == pytest.approx(1 / 3)
    assert scores["f1_m"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert scores["f1"] == scores["f1_a"] == pytest.approx(2 * 2 / (3 + 3))


def test_a_question_of_one_class_judged_right_counts_whole():
    assert score(("0-0", "0", "0"), ("0-0", "0", "0"))["f1_m"] == 1.0  # class 1 is not there, so it costs nothing


def test_as_many_answers_judged_right_as_are_right_is_no_exact_match():
    assert score(("0-0", "1", "0"), ("0-0", "0", "1"))["exact_match"] == 0.0


def test_the_answers_to_a_question_need_not_stand_together():
    together = score(("0-0", "1", "1"), ("0-0", "0", "1"), ("0-1", "1", "1"), ("0-1", "0", "0"))
    apart = score(("0-1", "0", "0"), ("0-0", "1", "1"), ("0-1", "1", "1"), ("0-0", "0", "1"))
    assert together == apart and together["exact_match"] == 0.5


def test_an_output_that_is_no_label_is_an_error():
    assert score(("0-0", "0", "?"), ("0-1", "1", "1")) == score(("0-0", "0", "1"), ("0-1", "1", "1"))


ANSWERS = st.tuples(st.sampled_from(["0-0", "0-1", "3-2"]), st.sampled_from("01"), st.sampled_from("01"))


@settings(max_examples=25)  # scikit-learn takes a tenth of a second for each
@given(st.lists(ANSWERS, min_size=1, max_size=30))
def test_f1_agrees_with_scikit_learn_question_by_question(answers):
    scores = score(*answers)
    golds, predictions = [each[1] for each in answers], [each[2] for each in answers]
    assert scores["f1_a"] == pytest.approx(
        f1_score(golds, predictions, pos_label="1", labels=["0", "1"], zero_division=0.0)
    )
    by_question = []
    for question in {each[0] for each in answers}:
        mine = [each[1:] for each in answers if each[0] == question]
        by_question.append(f1_score(*zip(*mine, strict=True), average="macro", zero_division=0.0))
    assert scores["f1_m"] == pytest.approx(sum(by_question) / len(by_question))


def test_an_answer_without_its_question_is_refused():
    with pytest.raises(ValueError, match="wanted the question of every answer as its group, given none for 0"):
        score((None, "1", "1"))
