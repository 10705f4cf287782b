"""The verdicts: their rule, known values, and what is compared with what."""

import dataclasses
import math

import pytest
from scipy.stats import f

from dept_vl.plans.claims import FAILS, HOLDS, OPEN, judge, pooled_sd, verdict
from dept_vl.plans.schema import Claim


def claim(**settings):
    return Claim(**{"name": "a", "published": "b", "first": ("long",), "second": ("short",), **settings})


@pytest.mark.parametrize(
    ("interval", "limit", "upwards", "wanted"),
    [
        ((0.1, 2.0), 0.0, True, HOLDS),
        ((-2.0, -0.1), 0.0, True, FAILS),
        ((-0.1, 2.0), 0.0, True, OPEN),
        ((0.0, 2.0), 0.0, True, OPEN),
        ((0.0, 0.0), 0.0, True, FAILS),  # no more than a tie in any repeat
        ((1.0, 1.2), 1.0, False, FAILS),
        ((-0.5, 0.2), -1.0, True, HOLDS),
        ((-1.5, 0.2), -1.0, True, OPEN),
        ((-1.5, -1.2), -1.0, True, FAILS),
        ((0.6, 0.69), 0.7, False, HOLDS),
        ((0.6, 0.71), 0.7, False, OPEN),
        ((0.71, 0.9), 0.7, False, FAILS),
        (None, 0.0, True, OPEN),
    ],
)
def test_a_verdict_needs_the_whole_interval_on_one_side(interval, limit, upwards, wanted):
    assert verdict(interval, limit, upwards=upwards) == wanted


def test_a_difference_is_paired_by_seed_and_averaged_over_tasks(done):
    """Both tasks score 10 x seed + tokens, so pairs differ by exactly four points while seeds differ by ten."""
    found = judge(done, claim())
    assert found.verdict == HOLDS and found.by_repeat == pytest.approx((4.0, 4.0, 4.0))
    assert (found.first, found.second) == (pytest.approx(28.0), pytest.approx(24.0))
    assert found.ours == "28.0 against 24.0 points: +4.0 [4.0, 4.0], 3 repeats"
    assert judge(done, claim(first=("short",), second=("long",))).verdict == FAILS


def test_the_opposite_of_a_claim_gets_the_opposite_verdict(done):
    for kind, margin in (("more", None), ("below", 1.0)):
        one = judge(done, claim(kind=kind, margin=margin)).verdict
        other = judge(done, claim(kind=kind, margin=margin, first=("short",), second=("long",))).verdict
        assert {one, other} == {HOLDS, FAILS}


def test_no_worse_allows_its_margin(done):
    worse = {"kind": "no_worse", "first": ("short",), "second": ("long",)}
    assert judge(done, claim(**worse, margin=5)).verdict == HOLDS
    assert judge(done, claim(**worse, margin=3)).verdict == FAILS


def test_within_noise_allows_the_seconds_own_spread(done):
    """The seeds are 10 points apart, so a standard deviation of 10; the difference is 4."""
    worse = judge(done, claim(kind="within_noise", first=("short",), second=("long",)))
    assert worse.verdict == HOLDS and worse.ours.endswith("(standard deviation of long over seeds 10.0)")
    still = [dataclasses.replace(each, place=each.place) for each in done.outcomes]
    for each in still:
        each.results["metrics"]["test"]["accuracy"] = (
            0.2 if each.place.cell == "short" else 0.3 + each.place.seed / 1000
        )
    flat = dataclasses.replace(done, outcomes=tuple(still))
    assert judge(flat, claim(kind="within_noise", first=("short",), second=("long",))).verdict == FAILS


def test_fewer_than_three_pairs_decide_nothing(done):
    few = dataclasses.replace(done, outcomes=tuple(each for each in done.outcomes if each.place.seed < 3))
    found = judge(few, claim())
    assert (found.verdict, found.interval, found.value) == (OPEN, None, pytest.approx(4.0))
    none = dataclasses.replace(done, outcomes=())
    assert (judge(none, claim()).verdict, judge(none, claim()).ours) == (OPEN, "not run yet")


def test_a_seed_that_lacks_a_task_is_left_out_on_both_sides(done):
    kept = tuple(
        each for each in done.outcomes
        if not (each.place.seed == 2 and each.place.task == "shapes-squad" and each.place.cell == "short")
    )  # fmt: skip
    found = judge(dataclasses.replace(done, outcomes=kept), claim())
    assert len(found.by_repeat) == 2 and found.verdict == OPEN and "1 more without a pair" in found.ours


def test_sizes_are_compared_as_they_are(done):
    found = judge(done, claim(kind="below", margin=1, measure="weights"))
    assert (found.verdict, found.interval, found.value) == (FAILS, None, pytest.approx(750 / 350))


def test_times_are_compared_round_by_round(done):
    found = judge(done, claim(kind="above", margin=1.9, measure="cost_train_ms"))
    assert (found.verdict, found.by_repeat) == (HOLDS, pytest.approx((2.0, 2.0, 2.0)))
    assert found.ours == "22.0 against 11.0 ms: ratio 2.00 [2.00, 2.00], 3 repeats"


def test_steadiness_is_the_f_distribution_over_pooled_deviations(done):
    assert pooled_sd([[1.0, 3.0], [10.0, 14.0]]) == (pytest.approx(math.sqrt((2 + 8) / 2)), 2)
    found = judge(done, claim(kind="steadier"))
    assert found.verdict == OPEN and found.value == pytest.approx(1.0), "both scatter by ten points a seed"
    assert found.interval == pytest.approx((f.ppf(0.025, 4, 4) ** 0.5, f.ppf(0.975, 4, 4) ** 0.5))


def test_what_cannot_be_judged_says_why(done):
    found = judge(done, done.plan.claims[1])
    assert (found.verdict, found.ours) == (OPEN, "one model")
    assert judge(done, claim(measure="positive_first")).ours == "the runs do not tell positive_first"
    assert judge(dataclasses.replace(done, costs=None), claim(measure="cost_eval_ms")).ours == "not measured yet"
