import pytest
from hypothesis import given
from hypothesis import strategies as st

from dept_vl.metrics.squad import exact_match, f1, mean_scores, normalise

TEXTS = st.text(alphabet="ab the,.'-AB \n", max_size=20)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("The Eiffel Tower.", "eiffel tower"),
        ("U.S.", "us"),
        ("by-pass", "bypass"),
        ("a-b", "ab"),
        ("th-e", ""),
        ("  a  b\tc\n", "b c"),
        ("another theory of an ant", "another theory of ant"),
        ("The-", ""),
        ("naïve café", "naïve café"),
        ("“the” end", "“ ” end"),
    ],
)
def test_case_punctuation_articles_and_spaces_are_taken_away(text, wanted):
    assert normalise(text) == wanted


@pytest.mark.parametrize(
    ("prediction", "golds", "wanted_match", "wanted_f1"),
    [
        ("The Red Door!", ["red door"], 1.0, 1.0),
        ("the red barn door", ["a red door"], 0.0, 0.8),  # precision 2/3, recall 1
        ("door", ["red barn door"], 0.0, 0.5),  # precision 1, recall 1/3
        ("yes yes yes", ["yes"], 0.0, 0.5),  # a word counts as shared once: precision 1/3, recall 1
        ("yes yes", ["yes no yes yes"], 0.0, 2 / 3),  # precision 1, recall 2/4
        ("door red", ["red door"], 0.0, 1.0),  # F1 knows no order
        ("green", ["red door"], 0.0, 0.0),
        ("red", ["green", "red door", "dark red"], 0.0, 2 / 3),
        ("dark red", ["green", "red door", "dark red"], 1.0, 1.0),
    ],
)
def test_known_values(prediction, golds, wanted_match, wanted_f1):
    assert exact_match(prediction, golds) == wanted_match
    assert f1(prediction, golds) == pytest.approx(wanted_f1)


@pytest.mark.parametrize(
    ("prediction", "gold", "wanted"), [("", "", 1.0), ("the", "", 1.0), ("", "red", 0.0), ("red", "An", 0.0)]
)
def test_nothing_matches_only_nothing(prediction, gold, wanted):
    assert exact_match(prediction, [gold]) == f1(prediction, [gold]) == wanted


@given(TEXTS, st.lists(TEXTS, min_size=1, max_size=3))
def test_f1_is_at_least_exact_match_and_more_golds_never_lower_either(prediction, golds):
    assert 0 <= exact_match(prediction, golds) <= f1(prediction, golds) <= 1
    assert exact_match(prediction, golds[:1]) <= exact_match(prediction, golds)
    assert f1(prediction, golds[:1]) <= f1(prediction, golds)
    assert normalise(normalise(prediction)) == normalise(prediction)


def test_the_means_are_over_predictions():
    pairs = [("red door", ["a red door"]), ("red", ["red door", "door"]), ("green", ["door"])]
    assert mean_scores(pairs) == pytest.approx({"exact_match": 1 / 3, "f1": 5 / 9})


@pytest.mark.parametrize("golds", [[], "red"])
@pytest.mark.parametrize("metric", [exact_match, f1])
def test_no_gold_answers_and_a_bare_string_are_refused(metric, golds):
    with pytest.raises(ValueError, match="wanted a list of at least one gold answer"):
        metric("red", golds)
