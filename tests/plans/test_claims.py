"""One claim by itself: known values, what is compared with what, and what is no matter of a test."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.stats import f, ttest_1samp

from dept_vl.plans import claims
from dept_vl.plans.claims import (
    CONSTRUCTED,
    CONTRADICTED,
    UNDECIDED,
    UNTESTED,
    judge,
    pooled_sd,
    seen_by,
)
from dept_vl.plans.schema import Claim

NOISE = {1: 0.3, 2: -0.4, 3: 0.1}  # points by seed, so that pairs differ


def claim(**settings):
    return Claim(**{"name": "a", "published": "b", "first": ("long",), "second": ("short",), **settings})


@pytest.fixture
def noisy(done):
    """`done` with other scores of the long cell: 4 points more than the short one's, and NOISE."""
    for each in done.of("long"):
        each.results["metrics"]["test"]["accuracy"] += NOISE[each.place.seed] / 100
    return done


def test_a_difference_is_paired_by_seed_and_averaged_over_tasks(noisy):
    """Seeds differ by ten points, pairs by four and a little noise: the test is that of the pairs."""
    found = judge(noisy, claim())
    pairs = [4 + noise for noise in NOISE.values()]
    wanted = ttest_1samp(pairs, 0.0)
    assert found.by_repeat == pytest.approx(pairs) and found.p == pytest.approx(wanted.pvalue)
    assert found.interval == pytest.approx(wanted.confidence_interval(0.95)) and found.verdict == UNDECIDED
    start = "28.0 against 24.0 points: +4.0 (95 % interval 3.1 to 4.9; paired t over 3 seeds, p = 0.0"
    assert found.ours.startswith(start)


def test_a_margin_is_what_the_difference_is_tested_against(noisy):
    worse = judge(noisy, claim(kind="no_worse", margin=5, first=("short",), second=("long",)))
    pairs = [-4 - noise for noise in NOISE.values()]
    assert worse.limit == -5 and worse.p == pytest.approx(ttest_1samp(pairs, -5.0).pvalue)


def test_the_opposite_of_a_claim_has_the_same_p(noisy):
    one, other = judge(noisy, claim()), judge(noisy, claim(first=("short",), second=("long",)))
    assert one.p == pytest.approx(other.p) and one.value == pytest.approx(-other.value)


def test_the_error_of_the_test_items_counts_where_it_is_known(noisy, monkeypatch):
    alone = judge(noisy, claim())
    monkeypatch.setattr(claims, "item_error", lambda table, first, second, tasks, claim: (1.5, 800))
    both = judge(noisy, claim())
    assert both.p > alone.p and both.interval[0] < alone.interval[0]
    assert (
        both.test == "paired t and min F' over 3 seeds, 800 items"
        and judge(noisy, claim(measure="steps")).error is None
    )


def test_fewer_than_three_pairs_test_nothing(done):
    few = dataclasses.replace(done, outcomes=tuple(each for each in done.outcomes if each.place.seed < 3))
    found = judge(few, claim())
    assert (found.verdict, found.interval, found.p, found.value) == (UNDECIDED, None, None, pytest.approx(4.0))
    assert (
        found.ours
        == "28.0 against 24.0 points: +4.0 (over 2 seeds; 1 of 3 planned pairs are missing; a test takes 3)".replace(
            "28.0 against 24.0", "23.0 against 19.0"
        )
    )
    none = dataclasses.replace(done, outcomes=())
    assert (judge(none, claim()).verdict, judge(none, claim()).ours) == (UNTESTED, "not run yet")


def test_a_seed_that_lacks_a_task_is_left_out_on_both_sides(done):
    kept = tuple(
        each for each in done.outcomes
        if not (each.place.seed == 2 and each.place.task == "shapes-squad" and each.place.cell == "short")
    )  # fmt: skip
    found = judge(dataclasses.replace(done, outcomes=kept), claim())
    assert len(found.by_repeat) == 2 and "1 of 3 planned pairs are missing" in found.ours


def test_what_is_counted_holds_by_construction_or_not(done):
    fewer = {"kind": "below", "margin": 1, "measure": "weights"}
    true = judge(done, claim(**fewer, first=("short",), second=("long",)))
    assert (true.verdict, true.p, true.interval, true.value) == (CONSTRUCTED, None, None, pytest.approx(350 / 750))
    assert judge(done, claim(**fewer)).verdict == CONTRADICTED
    assert judge(done, claim(kind="below", margin=1.1, measure="flops_share")).verdict == CONSTRUCTED


def test_times_are_compared_round_by_round(done):
    found = judge(done, claim(kind="above", margin=1.9, measure="cost_train_ms"))
    assert found.by_repeat == pytest.approx((2.0, 2.0, 2.0)) and found.p is None and found.verdict == UNDECIDED
    assert found.ours == (
        "22.0 against 11.0 ms: ratio 2.00 (over 3 rounds; all of them give the same, of which no test can be made)"
    )


def test_steadiness_is_the_f_test_over_pooled_deviations(done):
    assert pooled_sd([[1.0, 3.0], [10.0, 14.0]]) == (pytest.approx(math.sqrt((2 + 8) / 2)), 2)
    found = judge(done, claim(kind="steadier"))
    assert found.value == pytest.approx(1.0) and found.p == pytest.approx(1.0), "both scatter by ten points a seed"
    assert found.interval == pytest.approx((f.ppf(0.025, 4, 4) ** 0.5, f.ppf(0.975, 4, 4) ** 0.5))


def test_the_smallest_ratio_of_deviations_is_seen_four_times_in_five(done):
    found = judge(done, claim(kind="steadier"))
    ratio, draw = seen_by(found, 0.05), np.random.default_rng(0)
    first, second = draw.chisquare(4, 4000) / 4 * ratio**2, draw.chisquare(4, 4000) / 4
    assert np.mean(first / second < f.ppf(0.025, 4, 4)) == pytest.approx(0.8, abs=0.03)


def test_what_cannot_be_judged_says_why(done):
    found = judge(done, done.plan.claims[1])
    assert (found.verdict, found.ours) == (UNTESTED, "one model")
    assert judge(done, claim(measure="positive_first")).ours == "the runs do not tell positive_first"
    assert judge(dataclasses.replace(done, costs=None), claim(measure="cost_eval_ms")).ours.startswith("not measured")


def test_a_score_that_some_runs_never_reach_is_no_share_of_time(done):
    """The runs that arrive would speak for those that do not."""
    told = claim(kind="below", margin=1, measure="reach_flops", target="short", first=("short",), second=("short",))
    assert "not reached" not in judge(done, told).reason and len(judge(done, told).by_repeat) == 3
    late = done.of("short", "shapes-qnli")[0]
    for each in late.results["train_info"]["metrics"]:
        each["accuracy"] = 0.0
    wanted = dataclasses.replace(told, target="long")
    judged = judge(done, wanted)
    assert judged.verdict == UNDECIDED and judged.p is None and "was not reached in" in judged.reason


def test_a_ratio_is_of_values_above_zero(done):
    """Of two negative changes of a loss the ratio says the opposite."""
    forgotten = {each.place: -0.3 if each.place.cell == "long" else -0.1 for each in done.outcomes}
    found = judge(dataclasses.replace(done, forgotten=forgotten), claim(kind="below", margin=1, measure="forgetting"))
    assert (found.verdict, found.reason) == (UNDECIDED, "a ratio of values that are not all above zero")


def test_small_values_have_the_digits_that_tell_them_apart(done):
    for number, each in enumerate(done.outcomes):
        done.forgotten[each.place] = (0.598 if each.place.cell == "long" else 0.381) + number**2 / 1000
    told = judge(done, claim(measure="forgetting")).ours
    assert told.startswith("0.673 against 0.39 nats: +0.283 (95 % interval 0.253 to 0.313; paired t"), told


def test_a_difference_that_no_score_can_have_is_said_so(noisy):
    judged = dataclasses.replace(judge(noisy, claim()), seen=229.1)
    assert judged.judgement == "undecided: not even a difference of 100 points could have been seen"
    assert dataclasses.replace(judged, seen=34.4).judgement.endswith("could have been seen is 34.4 points")
    assert judged.compared == "long against short"
    assert judge(noisy, claim(second=("long",), second_measure="val")).compared == "long: score against val"
