"""Scores of short answers: values worked by hand, and what holds whatever the answers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dept_vl.metrics.answers import (
    CHOSEN_BY_DATA,
    SCORES,
    TooManyAnswers,
    anls,
    answer_score,
    best_match,
    check_score,
    choose_score,
    edit_distance,
    exact_match,
    normalise,
    relaxed_accuracy,
    score_answers,
)
from dept_vl.metrics.ids import MissingPrediction
from dept_vl.metrics.vqa import TooFewAnswers
from dept_vl.registry import UnknownName

BEST_OF = ("best_match", "token_f1", "anls", "relaxed_accuracy")
TEXTS = st.text(alphabet="aAbthe 2two.,%5-", max_size=8)


@pytest.mark.parametrize(
    ("numbers", "score"),
    [({10}, "vqa_accuracy"), ({4}, "vqa_accuracy"), ({4, 10}, "vqa_accuracy"), ({1}, "exact_match"),
     ({2}, "best_match"), ({3}, "best_match"), ({1, 2}, "best_match"), ({1, 10}, "best_match"), ({3, 4}, "best_match")],
)  # fmt: skip
def test_the_data_choose_the_score(numbers, score):
    assert choose_score(numbers) == score and score in CHOSEN_BY_DATA


@pytest.mark.parametrize(
    ("prediction", "answer", "worth"),
    [
        ("Two", "2", 1), ("t-shirt", "t shirt", 1), ("a red car", "Red car.", 1), ("cant", "can't", 1),
        ("none", "0", 1),        ("red", "blue", 0), ("", "red", 0),
        ("A", "a", 1), ("(A)", "A.", 1), ("the", "A", 0), ("...", "A", 0), ("...", "...", 1),  # choices are no articles
    ],
)  # fmt: skip
def test_exact_match_is_after_the_official_normalisation(prediction, answer, worth):
    assert exact_match(prediction, [answer]) == best_match(prediction, [answer]) == worth


def test_exact_match_has_one_answer_and_best_match_takes_the_best():
    assert best_match("dark blue", ["navy", "Dark blue."]) == 1
    with pytest.raises(TooManyAnswers, match="exact_match: wanted one reference answer .* given 2 .*best_match"):
        exact_match("navy", ["navy", "blue"])


@pytest.mark.parametrize(
    ("prediction", "answers", "worth"),
    [
        ("helo", ["hello"], 0.8),  # one letter of five
        ("sitting", ["kitten"], 4 / 7),  # three of seven
        ("ab", ["ac"], 0.5),  # the competitions' program keeps the threshold itself, the paper drops it
        ("abc", ["abxyz"], 0.0),  # 0.4 is below it
        ("xyz", ["abc", "xyz "], 1.0),  # the best of them
        ("  NEW   york", ["new York"], 1.0),
        ("", ["a"], 0.0),
        ("ct  ", ["cat"], 0.75),  # one letter of the four that came
        ("cd    ", ["ab"], 4 / 6),  # as the program has it: both letters wrong, of six that came
        ("strase", ["straße"], 6 / 7),  # "STRASSE" has seven; one edit
    ],
)
def test_anls_of_pairs_worked_by_hand(prediction, answers, worth):
    assert anls(prediction, answers) == pytest.approx(worth, abs=1e-12)


@pytest.mark.parametrize(
    ("prediction", "answer", "worth"),
    [
        ("95", "100", 1), ("105", "100", 1), ("94.9", "100", 0), ("105.1", "100", 0), ("-95", "-100", 1),
        ("95", "-100", 0), ("3.9", "4.0", 1), (" 4 ", "4", 1),
        ("50%", "0.5", 1), ("50%", "50 %", 1), ("50%", "50", 0), ("0.52", "50%", 1),  # a percentage is a hundredth
        ("0", "0", 1), ("0.0", "0", 0), ("0.001", "0", 0),  # nothing is within 5 % of 0: compared as text
        ("1000", "1,000", 0), ("1,000", "1,000", 1), ("Blue", "blue", 1), ("blue", "dark blue", 0),
        ("nan", "NaN", 1), ("inf", "1e999", 0), ("%", "%", 1),
    ],
)  # fmt: skip
def test_relaxed_accuracy_of_pairs_worked_by_hand(prediction, answer, worth):
    assert relaxed_accuracy(prediction, [answer]) == worth


def test_token_f1_counts_words():
    assert SCORES["token_f1"]("red car", ["a red sports car", "bus"]) == pytest.approx(0.8)  # 2 * 2 / (2 + 3)


@given(TEXTS, st.lists(TEXTS, min_size=1, max_size=4), st.randoms())
def test_the_best_of_several_is_in_bounds_in_any_order_and_gains_by_every_answer(prediction, answers, random):
    shuffled = random.sample(answers, len(answers))
    for name in BEST_OF:
        worth = SCORES[name](prediction, answers)
        assert 0 <= worth <= 1 and worth == SCORES[name](prediction, shuffled)
        assert worth == max(SCORES[name](prediction, [answer]) for answer in answers)


@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_whoever_gives_one_of_the_answers_is_right(answers):
    assert all(SCORES[name](answer, answers) == 1 for name in BEST_OF for answer in answers)
    assert exact_match(answers[0], answers[:1]) == 1


def slow_distance(first, second):
    if not first or not second:
        return len(first) + len(second)
    if first[0] == second[0]:
        return slow_distance(first[1:], second[1:])
    return 1 + min(slow_distance(*pair) for pair in ((first[1:], second), (first, second[1:]), (first[1:], second[1:])))


@settings(max_examples=60)
@given(st.text("abc", max_size=5), st.text("abc", max_size=5))
def test_the_edit_distance_is_the_fewest_edits(first, second):
    assert edit_distance(first, second) == edit_distance(second, first) == slow_distance(first, second)


@given(st.text("abcd", max_size=8), st.text("abcd", max_size=8))
def test_what_is_skipped_as_too_far_is_below_the_threshold(first, second):
    longer = max(len(first), len(second), 1)
    worth = 1 - edit_distance(first, second) / longer
    assert anls(first, [second]) == (worth if worth >= 0.5 else 0)


TYPES = {1: "is", 2: "is", 3: None}
ANSWERS = {1: ["red"], 2: ["two"], 3: ["4"]}


def test_the_mean_stands_under_the_scores_own_name_with_types_and_protocol():
    result = score_answers("auto", {1: "Red", 2: "3", 3: "4"}, ANSWERS, TYPES, {})
    assert result["exact_match"] == pytest.approx(2 / 3) and "vqa_accuracy" not in result
    assert result["by_question_type"] == {"is": 0.5} and result["by_answer_type"] == {}
    assert result["protocol"] == "one answer, VQA's normalisation"
    for name in BEST_OF:
        assert score_answers(name, {1: "red", 2: "two", 3: "4"}, ANSWERS, {}, {})[name] == 1
    protocols = {score_answers(name, dict.fromkeys(ANSWERS, ""), ANSWERS, {}, {})["protocol"] for name in BEST_OF}
    assert len(protocols) == 4


def test_four_answers_and_more_are_scored_as_ever():
    answers = {1: ["yes"] * 10, 2: ["2", "two", "3", "4"]}
    predictions = {1: "yes", 2: "2"}
    assert score_answers("auto", predictions, answers, TYPES, {}) == score_answers(
        "vqa_accuracy", predictions, answers, TYPES, {}
    )
    assert answer_score("vqa_accuracy", "two", ["two"] * 10, "official-2017") == 0
    assert answer_score("best_match", "two", ["2"], "official-2017") == 1


def test_what_a_score_cannot_take_is_refused_by_name():
    with pytest.raises(TooFewAnswers, match="wanted at least 4 .* given 1 .*score auto"):
        score_answers("vqa_accuracy", {1: "red"}, {1: ["red"]}, {}, {})
    with pytest.raises(TooManyAnswers, match="given 2"):
        score_answers("exact_match", {1: "red"}, {1: ["red", "blue"]}, {}, {})
    with pytest.raises(TooFewAnswers, match="wanted at least 1 .* given 0"):
        score_answers("anls", {1: "red"}, {1: []}, {}, {})
    with pytest.raises(MissingPrediction, match="missing 1 .2."):
        score_answers("anls", {1: "red"}, {1: ["red"], 2: ["red"]}, {}, {})
    with pytest.raises(UnknownName, match=r"score: wanted one of auto, .* given 'anl'. Did you mean 'anls'\?"):
        check_score("anl")


def test_normalising_an_ordinary_answer_is_the_official_one():
    assert normalise("The  Red-car") == "red car"
