"""Paired comparisons: known values, identities, what is drawn together, and the short way equal to the long one."""

import collections
import itertools

import numpy as np
import pytest
from sklearn.metrics import matthews_corrcoef

from dept_vl.plans.paired import compare_paired
from dept_vl.tasks.example import Example


def items(truth, groups=None):
    groups = groups or [None] * len(truth)
    return [
        Example(id=place, source="", targets=(each,), weights=(1.0,), references=(each,), group=group)
        for place, (each, group) in enumerate(zip(truth, groups, strict=True))
    ]


def accuracy(predictions, examples):
    return sum(p == e.references[0] for p, e in zip(predictions, examples, strict=True)) / len(examples)


def matthews(predictions, examples):
    """The phi coefficient of two binary variables; 0 where one of them is constant."""
    truth = np.array([e.references[0] == "1" for e in examples], dtype=float)
    given = np.array([p == "1" for p in predictions], dtype=float)
    spread = truth.std() * given.std()
    return float(((truth * given).mean() - truth.mean() * given.mean()) / spread) if spread else 0.0


def random_labels(number, seed):
    return [str(each) for each in np.random.default_rng(seed).integers(0, 2, number)]


def noisy(truth, share, seed):
    """The truth with so many labels turned round."""
    turned = np.random.default_rng(seed).random(len(truth)) < share
    return [{"0": "1", "1": "0"}[each] if turn else each for each, turn in zip(truth, turned, strict=True)]


TRUTH = random_labels(60, 0)
GOOD, BAD = noisy(TRUTH, 0.2, 1), noisy(TRUTH, 0.4, 2)


@pytest.mark.parametrize("score", [accuracy, matthews])
def test_identical_predictions_differ_by_nothing(score):
    found = compare_paired([GOOD], [GOOD], items(TRUTH), score, resamples=100)
    assert (found.difference, found.interval, found.p, found.differing, found.as_items) == (
        0.0,
        (0.0, 0.0),
        1.0,
        0,
        0.0,
    )


@pytest.mark.parametrize("maybe_mean", [True, False])
def test_better_on_every_item_is_no_chance(maybe_mean):
    truth = ["yes"] * 20
    found = compare_paired([truth], [["no"] * 20], items(truth), accuracy, maybe_mean=maybe_mean, resamples=500)
    assert (found.first, found.second, found.difference, found.interval) == (1.0, 0.0, 1.0, (1.0, 1.0))
    assert found.p == pytest.approx(1 / 501)
    assert (found.items, found.differing, found.as_items) == (20, 20, 20.0)


def test_the_permutation_test_agrees_with_all_permutations():
    """Eight items: 5 where the first is better, 1 where the second is, 2 alike."""
    truth = ["yes"] * 8
    first, second = ["yes"] * 5 + ["no", "yes", "no"], ["no"] * 5 + ["yes", "yes", "no"]
    signs = itertools.product((-1, 1), repeat=6)
    exact = np.mean([abs(sum(s * d for s, d in zip(sign, [1] * 5 + [-1], strict=True))) >= 4 for sign in signs])
    found = compare_paired([first], [second], items(truth), accuracy, maybe_mean=True, resamples=20_000)
    assert exact == 14 / 64
    assert found.p == pytest.approx(exact, abs=0.01)


def test_the_bootstrap_agrees_with_the_normal_interval_on_many_items():
    truth = random_labels(2000, 3)
    first, second = noisy(truth, 0.2, 4), noisy(truth, 0.25, 5)
    found = compare_paired([first], [second], items(truth), accuracy, maybe_mean=True, resamples=4000)
    right = [np.array([p == t for p, t in zip(side, truth, strict=True)], dtype=float) for side in (first, second)]
    half = 1.96 * np.std(right[0] - right[1]) / np.sqrt(2000)
    assert found.interval == pytest.approx((found.difference - half, found.difference + half), abs=0.002)


def test_the_short_way_gives_what_the_long_way_gives():
    short = compare_paired([GOOD, BAD], [BAD, BAD], items(TRUTH), accuracy, maybe_mean=True, resamples=200, seed=3)
    long = compare_paired([GOOD, BAD], [BAD, BAD], items(TRUTH), accuracy, resamples=200, seed=3)
    assert short.is_mean and not long.is_mean
    assert (short.p, short.difference, short.differing) == (long.p, long.difference, long.differing)
    assert short.interval == pytest.approx(long.interval, abs=1e-12)


def test_a_score_that_is_no_mean_is_never_taken_for_one():
    told, untold = (
        compare_paired([GOOD], [BAD], items(TRUTH), matthews, maybe_mean=maybe, resamples=100)
        for maybe in (True, False)
    )
    assert told == untold and not told.is_mean
    assert told.difference == pytest.approx(matthews_corrcoef(TRUTH, GOOD) - matthews_corrcoef(TRUTH, BAD))


@pytest.mark.parametrize("score", [accuracy, matthews])
def test_turned_round_the_difference_changes_its_sign_and_nothing_else(score):
    there = compare_paired([GOOD], [BAD], items(TRUTH), score, resamples=200)
    back = compare_paired([BAD], [GOOD], items(TRUTH), score, resamples=200)
    assert there.difference == -back.difference > 0 and there.p == back.p
    assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))


def test_p_is_evenly_spread_when_the_systems_are_alike():
    """Under the null hypothesis p <= 0.1 happens in at most 10 % of the cases (fewer where scores repeat)."""
    below = []
    for seed in range(150):
        truth = random_labels(40, seed)
        sides = noisy(truth, 0.3, 1000 + seed), noisy(truth, 0.3, 2000 + seed)
        found = compare_paired([sides[0]], [sides[1]], items(truth), accuracy, maybe_mean=True, resamples=200)
        below.append(found.p <= 0.1)
    assert 0.01 < np.mean(below) < 0.15


def test_runs_are_averaged_and_swapped_in_pairs():
    found = compare_paired([GOOD, TRUTH], [BAD, TRUTH], items(TRUTH), accuracy, maybe_mean=True)
    alone = compare_paired([GOOD], [BAD], items(TRUTH), accuracy, maybe_mean=True)
    assert found.difference == pytest.approx(alone.difference / 2)
    assert found.p == alone.p and found.differing == alone.differing
    assert found.first == pytest.approx((accuracy(GOOD, items(TRUTH)) + 1) / 2)


def test_items_drawn_again_have_ids_of_their_own_and_both_runs_see_the_same():
    seen = []

    def score(predictions, examples):
        assert len({example.id for example in examples}) == len(examples) == 60
        seen.append([example.references[0] for example in examples])
        return accuracy(predictions, examples)

    compare_paired([GOOD], [BAD], items(TRUTH), score, resamples=5)
    drawn = seen[2:12]  # after the two on all items
    assert drawn[0::2] == drawn[1::2] and len({tuple(each) for each in drawn}) == 5
    assert all(each == TRUTH for each in seen[12:]), "permutations keep the items"


def test_an_id_and_its_text_are_two_ids():
    """Also where both are drawn twice."""
    examples = [
        Example(id=key, source="", targets=(), weights=(), references=(str(key),)) for key in (0, 1, 2, "0", "1", "2")
    ]

    def score(predictions, examples):
        assert len({example.id for example in examples}) == 6
        return accuracy(predictions, examples)

    compare_paired([["0"] * 6], [["1"] * 6], examples, score, resamples=200)


def test_a_group_is_drawn_and_swapped_whole_and_a_second_copy_is_a_group_of_its_own():
    """As for questions that are right when all their answers are."""
    groups = ["a", "b", "b", "c", "c", "c", None]
    sizes = collections.Counter(groups)
    truth, other = ["x"] * 7, ["y"] * 7
    both = []

    def whole_groups(predictions, examples):
        by_group = collections.defaultdict(list)
        for place, (prediction, example) in enumerate(zip(predictions, examples, strict=True)):
            by_group[example.group or ("alone", place)].append(prediction)
            both.append((example.group, prediction))
        for group, given in by_group.items():
            assert len(given) == (sizes[group[0]] if isinstance(group, str) else 1)
            assert len(set(given)) == 1
        return sum(given[0] == "x" for given in by_group.values()) / len(by_group)

    found = compare_paired([truth], [other], items(truth, groups), whole_groups, resamples=50)
    assert (found.items, found.differing, found.difference) == (4, 4, 1.0)
    assert any(group and "#" in group for group, _ in both)
    short = compare_paired([truth], [other], items(truth, groups), whole_groups, maybe_mean=True, resamples=50)
    assert short.is_mean and short.p == found.p


def test_a_mean_over_rows_of_groups_of_several_sizes_is_no_mean_over_items():
    found = compare_paired(
        [["x", "x", "x", "y"]], [["x", "x", "x", "x"]], items(["x"] * 4, ["a", "a", "a", "b"]), accuracy,
        maybe_mean=True, resamples=20,
    )  # fmt: skip
    assert not found.is_mean and found.difference == -0.25


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([GOOD], [BAD, BAD], "wanted as many first as second runs, at least one, given 1 and 2"),
        ([], [], "given 0 and 0"),
        ([GOOD], [BAD[:-1]], "wanted an answer to each of 60 examples, given lists of \\[59, 60\\]"),
    ],
)
def test_lists_that_do_not_pair_are_refused(first, second, message):
    with pytest.raises(ValueError, match=message):
        compare_paired(first, second, items(TRUTH), accuracy)
