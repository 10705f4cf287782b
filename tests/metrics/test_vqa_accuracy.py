"""The official VQA rules, their odd corners included."""

import copy
import functools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dept_vl.metrics.answers import score_answers
from dept_vl.metrics.ids import MissingPrediction
from dept_vl.metrics.vqa import (
    PROTOCOLS,
    TooFewAnswers,
    flatten_whitespace,
    normalise_answer,
    process_punctuation,
    vqa_accuracy,
)
from dept_vl.registry import UnknownName

score_vqa = functools.partial(score_answers, "vqa_accuracy")

words = st.sampled_from(["cat", "two", "2", "a cat", "The cat.", "dont", "1,000", "t-shirt", "none", "", " yes\n"])
ten_answers = st.lists(words | st.text(max_size=6), min_size=10, max_size=10)
protocols = st.sampled_from(PROTOCOLS)


@pytest.fixture
def normalise_cases(shared_oracle) -> list[dict]:
    return shared_oracle("vqa_normalise.json")


def test_the_normaliser_equals_the_official_one(normalise_cases):
    for case in normalise_cases:
        assert process_punctuation(flatten_whitespace(case["raw"])) == case["punct"], case
        assert normalise_answer(case["raw"]) == case["normalised"], case


@pytest.mark.parametrize(
    ("protocol", "column"),
    [("official-2021", "official_2021"), ("official-2017", "official_2017_and_vlt5_and_lavis")],
)
def test_accuracy_equals_the_official_evaluator(protocol, column, shared_oracle):
    for case in shared_oracle("vqa_accuracy.json")["cases"]:
        given_percent = 100 * vqa_accuracy(case["pred"], case["gt"], protocol)
        assert given_percent == pytest.approx(case[column], abs=1e-9), case["name"]


@pytest.mark.parametrize(
    ("raw", "normalised"),
    [
        ("1,000", "1000"),
        ("2,5", "25"),
        ("red, blue", "red blue"),
        ("red,blue", "red blue"),
        ("st. louis", "st louis"),
        ("st.louis", "stlouis"),
        ("3.5", "3.5"),
        ("5.", "5"),
        ("a+b", "b"),
        ("the", ""),
        ("...", ""),
        ("none", "0"),
        ("Ten cats", "10 cats"),
        ("Im", "im"),
        ("couldnt've", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        ("yall'd've", "y'all'd've"),
        ("ow's'at", "'ow's'at"),
        ("somebody'd", "somebodyd"),
        ("shes", "shes"),
        ("dog's 5:30 $3 & #1", "dog's 5:30 $3 & #1"),
    ],
)
def test_normalising_follows_every_known_quirk(raw, normalised):
    assert normalise_answer(raw) == normalised


def test_at_most_thirty_two_periods_are_deleted():
    assert process_punctuation("." * 40) == "." * 8


def test_the_three_protocols_differ_where_they_are_known_to():
    unanimous = ["two"] * 10
    assert [vqa_accuracy("two", unanimous, p) for p in PROTOCOLS] == [1.0, 0.0, 1.0]
    assert [vqa_accuracy("2", unanimous, p) for p in PROTOCOLS] == [0.0, 0.0, 1.0]
    assert [vqa_accuracy("Black.", ["black"] * 10, p) for p in PROTOCOLS] == [0.0, 1.0, 1.0]
    split = ["none"] * 3 + ["0"] * 3 + ["nothing"] * 4
    assert [vqa_accuracy("none", split, p) for p in PROTOCOLS] == [1.0, 0.9, 1.0]


def test_the_default_protocol_is_the_official_one_of_2021():
    assert vqa_accuracy("2", ["two"] * 10) == 0.0


@pytest.mark.parametrize(("matches", "accuracy"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (9, 1), (10, 1)])
def test_leave_one_out_of_ten_is_exact(matches, accuracy):
    answers = ["cat"] * matches + [f"dog {i}" for i in range(10 - matches)]
    assert vqa_accuracy("cat", answers) == accuracy


@given(prediction=words | st.text(max_size=6), answers=ten_answers, protocol=protocols)
def test_accuracy_is_one_of_five_fractions_whatever_the_order(prediction, answers, protocol):
    before = list(answers)
    accuracy = vqa_accuracy(prediction, answers, protocol)
    assert accuracy in {0, 0.3, 0.6, 0.9, 1}
    assert accuracy == vqa_accuracy(prediction, answers[::-1], protocol) == vqa_accuracy(prediction, answers, protocol)
    assert answers == before


@given(prediction=words, answers=st.lists(words, min_size=4, max_size=12), protocol=protocols)
def test_accuracy_stays_a_fraction_for_any_number_of_annotators(prediction, answers, protocol):
    assert 0 <= vqa_accuracy(prediction, answers, protocol) <= 1


ANSWERS = {1: ["yes"] * 10, 2: ["two"] * 6 + ["three"] * 4, "q3": ["a cat"] * 3 + ["dog"] * 7}
PREDICTIONS = {1: "yes", 2: "4", "q3": "cat"}
KINDS = {1: "yes/no", 2: "number", "q3": "other"}


def test_scores_are_grouped_by_type_and_name_their_protocol():
    score = score_vqa(PREDICTIONS, ANSWERS, {1: "is", 2: "what", "q3": "what"}, KINDS, "official-2021")
    assert score["protocol"] == "official-2021"
    assert score["vqa_accuracy"] == pytest.approx((1 + 0 + 0.9) / 3)
    assert score["by_answer_type"] == {"number": 0.0, "other": 0.9, "yes/no": 1.0}
    assert score["by_question_type"] == {"is": 1.0, "what": 0.45}


def test_a_question_without_type_counts_in_the_whole_only():
    score = score_vqa(PREDICTIONS, ANSWERS, {}, KINDS | {2: None})
    assert score["by_question_type"] == {} and set(score["by_answer_type"]) == {"yes/no", "other"}
    assert score["vqa_accuracy"] == pytest.approx(1.9 / 3)


def test_scoring_again_or_in_another_order_changes_nothing():
    inputs = copy.deepcopy((PREDICTIONS, ANSWERS, KINDS, KINDS))
    first = score_vqa(*inputs)
    assert inputs == (PREDICTIONS, ANSWERS, KINDS, KINDS)
    turned = [dict(reversed(mapping.items())) for mapping in inputs]
    assert json.dumps(first) == json.dumps(score_vqa(*inputs)) == json.dumps(score_vqa(*turned))


def test_missing_and_unknown_ids_are_counted_and_named():
    with pytest.raises(MissingPrediction) as error:
        score_vqa({2: "4", 7: "x"}, ANSWERS, KINDS, KINDS)
    assert str(error.value) == (
        "wanted one prediction for each of 3 question ids, given 2: missing 2 (1, 'q3'), unknown 1 (7)"
    )
    with pytest.raises(MissingPrediction, match="missing 10 \\(0, 1, 2, 3, 4, ...\\), unknown 0$"):
        score_vqa({}, {i: ["yes"] * 10 for i in range(10)}, {}, {})
    with pytest.raises(MissingPrediction, match="wanted at least one question to score, given none"):
        score_vqa({}, {}, {}, {})


def test_an_unknown_protocol_is_refused_with_a_suggestion():
    with pytest.raises(UnknownName, match="wanted one of official-2021, .*'official-2020'. Did you mean 'official-20"):
        vqa_accuracy("yes", ["yes"] * 10, "official-2020")


@pytest.mark.parametrize("number", range(14))
def test_a_perfect_prediction_scores_one_or_is_refused(number):
    if number < 4:
        with pytest.raises(TooFewAnswers, match=f"wanted at least 4 reference answers .* given {number} "):
            vqa_accuracy("yes", ["yes"] * number)
    else:
        assert vqa_accuracy("yes", ["yes"] * number) == 1.0


def test_one_bare_string_is_refused():
    with pytest.raises(ValueError, match="wanted a list .* given 'yes'"):
        vqa_accuracy("yes", "yes")


def test_predictors_score_as_with_the_official_evaluator(vqa_text: Path, shared_json):
    percent = {}
    for part in ("valid", "test"):
        rows = shared_json(vqa_text / f"vqa_annotations_{part}.json.gz")["annotations"]
        answers = {row["question_id"]: [a["answer"] for a in row["answers"]] for row in rows}
        kinds = {row["question_id"]: row["answer_type"] for row in rows}
        consensus = {row["question_id"]: row["multiple_choice_answer"] for row in rows}
        percent[part] = (
            score_vqa(consensus, answers, {}, kinds),
            score_vqa(dict.fromkeys(answers, "yes"), answers, {}, {}),
        )
    best, yes = percent["valid"]
    assert f"{100 * best['vqa_accuracy']:.6f}" == "96.605770"
    by_type = {kind: f"{100 * value:.6f}" for kind, value in best["by_answer_type"].items()}
    assert by_type == {"number": "96.536635", "other": "93.429591", "yes/no": "99.996607"}
    assert f"{100 * yes['vqa_accuracy']:.6f}" == "20.847722"
    best, yes = percent["test"]
    assert f"{100 * best['vqa_accuracy']:.6f}" == "96.742066"
    assert f"{100 * yes['vqa_accuracy']:.6f}" == "22.366644"
