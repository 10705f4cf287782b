"""Mean, sd and interval over seeds: known values, laws, and how often the interval holds the truth."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from dept_vl.plans.significance import error_of
from dept_vl.plans.spread import spread


def test_known_values():
    found = spread([59.2, 59.8, 60.4, 60.2])
    assert found.mean == pytest.approx(59.9)
    assert found.sd == pytest.approx(0.52915026)  # n - 1 in the denominator; with n it is 0.458
    assert found.interval == pytest.approx(ttest_1samp([59.2, 59.8, 60.4, 60.2], 0).confidence_interval(0.95))
    assert found.level == 0.95


def test_the_error_of_the_test_items_widens_the_interval():
    values = [59.2, 59.8, 60.4, 60.2]
    wide = spread(values, error=error_of(values, items=2.0, number=400))
    assert wide.interval[1] - wide.interval[0] > 2 * 1.9 * 2.0
    assert spread(values, error=error_of(values)).interval == spread(values).interval


def test_it_never_narrows_it_though_it_brings_degrees_of_freedom():
    values = [0.5, 1.0, 1.5]
    alone, both = spread(values), spread(values, error=error_of(values, items=0.2, number=300))
    assert both.interval == alone.interval
    assert error_of(values, items=0.2, number=300).whole_free > 2.5, "min F' alone would give 0.94 in place of 1.24"


def test_one_run_has_no_sd_and_fewer_than_three_no_interval():
    assert (spread([0.5]).mean, spread([0.5]).sd, spread([0.5]).interval) == (0.5, None, None)
    assert spread([0.25, 0.75]).sd == pytest.approx(0.35355339)
    assert spread([0.25, 0.75]).interval is None
    assert spread([0.25, 0.75, 0.5]).interval is not None


def test_runs_that_agree_have_no_interval_but_that_of_the_items():
    found = spread([0.25] * 4)
    assert (found.sd, found.interval) == (0.0, None)
    low, high = spread([0.25] * 4, error=error_of([0.25] * 4, items=0.1, number=400)).interval
    assert (low, high) == pytest.approx((0.25 - 0.1966, 0.25 + 0.1966), abs=1e-4)


def test_the_interval_moves_and_scales_with_the_values():
    values = np.array([0.3, 0.5, 0.35, 0.62, 0.4])
    low, high = spread(list(values)).interval
    assert spread(list(100 * values - 7)).interval == pytest.approx((100 * low - 7, 100 * high - 7))


def test_a_lower_level_gives_a_narrower_interval():
    values = [0.3, 0.5, 0.35, 0.62, 0.4]
    wide, narrow = spread(values).interval, spread(values, level=0.5).interval
    assert wide[0] < narrow[0] < np.mean(values) < narrow[1] < wide[1]


@pytest.mark.parametrize(("runs", "least", "most"), [(3, 0.92, 0.98), (5, 0.92, 0.98), (10, 0.92, 0.98)])
def test_the_interval_holds_the_truth_as_often_as_its_docstring_says(runs, least, most):
    draw = np.random.default_rng(0)
    intervals = [spread(list(draw.normal(size=runs))).interval for _ in range(400)]
    assert least < np.mean([low <= 0 <= high for low, high in intervals]) < most


@pytest.mark.parametrize("values", [[], [0.5, float("nan")], [float("inf")]])
def test_what_has_no_mean_is_refused(values):
    with pytest.raises(ValueError, match="spread: wanted at least one value and only finite ones, given"):
        spread(values)
