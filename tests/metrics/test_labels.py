import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sklearn

from dept_vl.metrics.labels import METRICS, label_scores, numbered
from dept_vl.registry import UnknownName

TWO, THREE = ("0", "1"), ("0", "1", "2")


def score(metric, labels, golds, predictions):
    examples = [SimpleNamespace(references=(gold,)) for gold in golds]
    return label_scores(metric)(SimpleNamespace(labels=labels), list(predictions), examples)[metric]


def test_two_classes_by_hand():
    golds, predictions = "11110000", "11011000"  # tp 3, fn 1, fp 1, tn 3
    assert score("accuracy", TWO, golds, predictions) == 0.75
    assert score("f1", TWO, golds, predictions) == pytest.approx(0.75)
    assert score("matthews_correlation", TWO, golds, predictions) == pytest.approx(0.5)
    assert score("f1", TWO, "110000", "100000") == pytest.approx(2 / 3)  # of class 1, not of class 0


def test_macro_f1_by_hand():
    # class 0 twice in the golds, three times given, twice both; class 1 twice, once, once; class 2 once, once, never
    assert score("f1_macro", THREE, "00112", "00120") == pytest.approx((4 / 5 + 2 / 3 + 0) / 3)


def test_correlations_by_hand():
    assert score("pearson", (), ["0.0", "1.0", "2.0"], ["1.0", "3.0", "2.0"]) == pytest.approx(0.5)
    assert score("spearmanr", (), ["0.1", "0.2", "4.0"], ["1.0", "2.0", "3.0"]) == pytest.approx(1)


@settings(max_examples=25)  # scikit-learn takes a tenth of a second for each
@given(st.lists(st.tuples(st.sampled_from(TWO), st.sampled_from(TWO)), min_size=2, max_size=40))
def test_two_classes_agree_with_scikit_learn(pairs):
    golds, predictions = zip(*pairs, strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of constant sides, where it answers 0 as well
        assert score("f1", TWO, golds, predictions) == pytest.approx(
            sklearn.f1_score(golds, predictions, pos_label="1", labels=TWO, average="binary", zero_division=0.0)
        )
        assert score("matthews_correlation", TWO, golds, predictions) == pytest.approx(
            sklearn.matthews_corrcoef(golds, predictions), abs=1e-12
        )


@settings(max_examples=25)  # scikit-learn takes a tenth of a second for each
@given(st.lists(st.tuples(st.sampled_from(THREE), st.sampled_from((*THREE, "?"))), min_size=1, max_size=40))
def test_macro_f1_agrees_with_scikit_learn_over_all_classes(pairs):
    golds, predictions = zip(*pairs, strict=True)
    wanted = sklearn.f1_score(golds, predictions, labels=THREE, average="macro", zero_division=0.0)
    assert score("f1_macro", THREE, golds, predictions) == pytest.approx(wanted)


def test_correlations_agree_with_scipy():
    draw = np.random.default_rng(0)
    golds = draw.uniform(0, 5, 200)
    predictions = np.round(np.clip(golds + draw.normal(0, 1, 200), 0, 5), 1)  # many ties
    texts = [str(number) for number in golds], [str(number) for number in predictions]
    assert score("pearson", (), *texts) == pytest.approx(stats.pearsonr(golds, predictions).statistic)
    assert score("spearmanr", (), *texts) == pytest.approx(stats.spearmanr(golds, predictions).statistic)


def test_of_two_classes_an_output_that_is_no_label_counts_as_the_other_one():
    assert numbered(TWO, list("0101"), ["", "true", "0", "1"]) == ([0, 1, 0, 1], [1, 0, 0, 1])
    # without the rule, a "?" for a 0 would cost recall of no class and so no F1
    assert score("f1", TWO, "0001", ["?", "0", "0", "1"]) == score("f1", TWO, "0001", "1001") == pytest.approx(2 / 3)


def test_of_several_classes_an_output_that_is_no_label_is_never_right():
    assert numbered(THREE, list("012"), ["?", "1", "2.0"]) == ([0, 1, 2], [3, 1, 3])
    assert score("accuracy", THREE, "012", ["?", "1", "2.0"]) == pytest.approx(1 / 3)


@pytest.mark.parametrize("text", ["", "five", "nan", "inf", "-1"])
def test_an_output_that_is_no_number_counts_as_minus_one(text):
    golds = ["1.0", "2.0", "3.0"]
    assert score("pearson", (), golds, [text, "2", "3"]) == score("pearson", (), golds, ["-1.0", "2.0", "3.0"])


@pytest.mark.parametrize("metric", ["pearson", "spearmanr", "matthews_correlation"])
@pytest.mark.parametrize("constant", ["0", "1"])
def test_a_correlation_with_a_constant_is_zero(metric, constant):
    assert score(metric, TWO, "0110110", constant * 7) == 0.0
    assert score(metric, TWO, constant * 7, "0110110") == 0.0
    assert score(metric, TWO, "1", constant) == 0.0


def test_a_mean_that_rounds_does_not_make_a_constant_vary():
    assert score("pearson", (), [str(n) for n in range(7)], ["3.3"] * 7) == 0.0


def test_large_numbers_do_not_overflow():
    assert score("pearson", (), ["1", "2", "3"], ["1e308", "0", "-1e308"]) == pytest.approx(-1)
    assert score("pearson", (), ["1", "1", "0"], ["1e308", "1e308", "0"]) == pytest.approx(1)


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_every_metric_of_perfect_predictions_is_one(metric):
    labels, answers = (THREE, "012") if metric == "f1_macro" else (TWO, "01101")
    assert score(metric, labels, answers, answers) == pytest.approx(1, abs=1e-14)  # correlations are sums of products


def test_metrics_come_in_the_order_asked_for():
    scores = label_scores("f1", "accuracy")(SimpleNamespace(labels=TWO), ["1"], [SimpleNamespace(references=("1",))])
    assert list(scores) == ["f1", "accuracy"]


def test_what_a_metric_cannot_score_is_refused():
    with pytest.raises(
        UnknownName, match=r"metrics: .*given 'mathews_correlation'. Did you mean 'matthews_correlation'"
    ):
        label_scores("accuracy", "mathews_correlation")
    for metric in ("f1", "matthews_correlation"):
        with pytest.raises(ValueError, match=rf"{metric}: wanted two classes, given 3 \(0, 1, 2\)"):
            score(metric, THREE, "012", "012")
    with pytest.raises(ValueError, match="wanted gold labels of 0, 1, given '2'"):
        score("accuracy", TWO, "012", "010")
