from types import SimpleNamespace

import pytest

from dept_vl.metrics.rouge import rouge, rouge_scores


def test_rouge_l_of_a_known_pair():
    # a SHIP sank off the ISLAND | the SHIP hit rocks near the ISLAND: 6 and 7 words; in order: ship the island
    scores = rouge("A ship sank off the island.", ["The ship hit rocks near the island"])
    assert scores["rougeL"] == pytest.approx(2 * 3 / (6 + 7))
    assert scores["rouge1"] == pytest.approx(2 * 3 / (6 + 7))
    assert scores["rouge2"] == pytest.approx(2 * 1 / (5 + 6))  # "the island"


def test_rouge_l_minds_the_order_and_rouge_1_does_not():
    scores = rouge("north wind", ["wind north"])
    assert scores == pytest.approx({"rouge1": 1.0, "rouge2": 0.0, "rougeL": 0.5})


def test_words_of_more_than_three_letters_are_stemmed():
    assert rouge("rescuing sailors", ["rescued sailor"])["rougeL"] == 1.0
    assert rouge("ran", ["run"])["rougeL"] == 0.0


def test_case_and_punctuation_do_not_count():
    assert rouge("Rain, rain: GO away!", ["rain rain go away"])["rougeL"] == 1.0


def test_the_best_gold_summary_counts():
    golds = ["snow fell", "rain fell in the north", "rain fell"]
    assert rouge("rain fell", golds)["rougeL"] == 1.0
    assert rouge("rain fell", golds[:2])["rougeL"] == pytest.approx(2 * 2 / (2 + 5))


@pytest.mark.parametrize(("prediction", "gold"), [("", "rain"), ("rain", "..."), ("", "")])
def test_a_side_without_words_scores_zero(prediction, gold):
    assert set(rouge(prediction, [gold]).values()) == {0.0}


def test_the_means_are_over_examples():
    examples = [SimpleNamespace(references=("rain fell",)), SimpleNamespace(references=("snow", "hail"))]
    assert rouge_scores(None, ["rain fell", "fog"], examples) == {"rouge1": 0.5, "rouge2": 0.5, "rougeL": 0.5}
    with pytest.raises(ValueError):
        rouge_scores(None, ["rain fell"], examples)


@pytest.mark.parametrize("golds", [[], "rain"])
def test_no_gold_summaries_and_a_bare_string_are_refused(golds):
    with pytest.raises(ValueError, match="wanted a list of at least one gold summary"):
        rouge("rain", golds)
