"""Known values: scipy's paired t, Clark's min F', Holm's textbook example, sample sizes that programs for them give."""

import math

import numpy as np
import pytest
from scipy.stats import nct, t, ttest_rel

from dept_vl.plans.significance import (
    LEVEL,
    POWER,
    error_of,
    half_width,
    holm,
    p_value,
    power,
    repeats_needed,
    smallest_seen,
)

FIRST, SECOND = [84.2, 73.3, 81.4, 79.0], [83.6, 70.6, 73.9, 78.8]
PAIRS = [a - b for a, b in zip(FIRST, SECOND, strict=True)]


def test_the_paired_t_test_is_scipys():
    found = p_value(np.mean(PAIRS), error_of(PAIRS))
    assert found == pytest.approx(ttest_rel(FIRST, SECOND).pvalue, rel=1e-12)


def test_both_errors_together_are_clarks_min_f():
    """min F' = F1 F2 / (F1 + F2) with (F1 + F2)^2 / (F1^2 / n2 + F2^2 / n1) degrees of freedom."""
    items, number, mean = 1.1, 800, float(np.mean(PAIRS))
    error = error_of(PAIRS, items=items, number=number)
    by_repeats, by_items = (mean / error.repeats) ** 2, (mean / items) ** 2
    min_f = by_repeats * by_items / (by_repeats + by_items)
    free = (by_repeats + by_items) ** 2 / (by_repeats**2 / (number - 1) + by_items**2 / (len(PAIRS) - 1))
    assert (mean / error.whole) ** 2 == pytest.approx(min_f)
    assert error.whole_free == pytest.approx(free)
    assert p_value(mean, error) == pytest.approx(2 * t.sf(math.sqrt(min_f), free))
    assert p_value(mean, error) > p_value(mean, error_of(PAIRS)), "a sample of items makes nothing surer"


def test_without_an_error_of_items_only_the_repeats_count():
    assert error_of(PAIRS, items=0.0, number=800).whole == error_of(PAIRS).whole
    with pytest.raises(ValueError, match="wanted at least two repeats for a standard error, given 1"):
        error_of([1.0])


def test_holms_correction_of_a_textbook_example():
    """Four p-values, as in the article on the Holm-Bonferroni method: H4 and H1 are rejected, H3 and H2 are not."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5]) == [0.5] and holm([]) == []


def test_holm_is_never_more_lenient_than_none_nor_harder_than_bonferroni():
    draw = np.random.default_rng(0).random(30) ** 3
    adjusted = holm(draw.tolist())
    assert all(p <= a <= min(1, 30 * p) for p, a in zip(draw, adjusted, strict=True))
    assert np.array_equal(np.argsort(draw), np.lexsort((draw, adjusted))), "the order stays"


def test_few_repeats_that_happen_to_agree_make_nothing_surer():
    """Drawn without a difference: three seeds, 300 items whose error is 0.3 of the seeds'."""
    draw, seeds, items = np.random.default_rng(0), 3, 0.3
    drawn = draw.normal(size=(4000, seeds)) * math.sqrt(seeds) + items * draw.normal(size=(4000, 1))
    found = [(each.mean(), error_of(each.tolist(), items=items, number=300)) for each in drawn]
    min_f_alone = [2 * t.sf(abs(mean) / error.whole, error.whole_free) for mean, error in found]
    assert np.mean([p <= 0.05 for p in min_f_alone]) > 0.065
    assert np.mean([p_value(mean, error) <= 0.05 for mean, error in found]) < 0.058
    assert np.mean([half_width(error, 0.95) >= abs(mean) for mean, error in found]) > 0.942


def test_of_repeats_that_all_agree_no_test_is_made():
    for values in ([2.0] * 3, [2.0] * 10, [0.3, 0.1 + 0.2, 0.3]):  # rounding is no sampling error
        same = error_of(values)
        assert (same.tests, p_value(2.0, same), half_width(same, 0.95), smallest_seen(same)) == ((), None, None, None)
    items = error_of([2.0] * 3, items=1.0, number=400)
    assert p_value(2.0, items) == pytest.approx(2 * t.sf(2.0, 399)), "then only the items are a sample"


@pytest.mark.parametrize(("effect", "pairs"), [(0.5, 34), (0.8, 15), (1.0, 10)])
def test_sample_sizes_are_those_of_g_power(effect, pairs):
    """A paired t test, two-sided at 5 %, with a chance of 80 %: d = 0.5 takes 34 pairs."""
    assert repeats_needed(1.0, effect) == pairs
    assert repeats_needed(4.0, 4 * effect) == pairs, "only the ratio counts"


def test_power_is_the_noncentral_ts():
    for free, ratio in ((9, 3.0), (2, 5.0), (14, 1.0)):
        assert power(ratio, free, LEVEL) == pytest.approx(nct.sf(t.isf(LEVEL / 2, free), free, ratio), abs=1e-9)


def test_the_smallest_difference_is_seen_four_times_in_five():
    """Drawn: ten pairs whose true difference is what is called the smallest that could be seen."""
    sd, number = 3.0, 10
    error = error_of([sd * x for x in _standardised(number)])
    draw = np.random.default_rng(1)
    tried = draw.normal(smallest_seen(error), sd, size=(2000, number))
    ts = tried.mean(1) / (tried.std(1, ddof=1) / math.sqrt(number))
    assert np.mean(ts > t.isf(LEVEL / 2, number - 1)) == pytest.approx(POWER, abs=0.03)
    assert smallest_seen(error, LEVEL / 40) > smallest_seen(error)


def _standardised(number):
    values = np.linspace(-1, 1, number)
    return (values - values.mean()) / values.std(ddof=1)


def test_what_has_no_sample_size_is_refused():
    with pytest.raises(ValueError, match="wanted a deviation and a difference above 0, given 0 and 2"):
        repeats_needed(0, 2)
    with pytest.raises(ValueError, match="wanted at most 100,000 repeats"):
        repeats_needed(1000, 1)
