"""Whether a difference is more than chance: paired t, Holm's correction, the smallest difference that could be seen.

    t = (mean - null) / SE,  SE = sd / sqrt(n)          over n repeats (seeds, draws or rounds)
    SE^2 = SE_repeats^2 + SE_items^2                    where the test items are a sample too

The second line is Clark's min F' (Clark 1973, Journal of Verbal Learning and Verbal Behavior 12:335-359): with
F = t^2, F1 F2 / (F1 + F2) = difference^2 / (SE1^2 + SE2^2), whose degrees of freedom are Satterthwaite's. They are
themselves estimated, and where few repeats happen to agree they are too many: with three repeats and an error of the
items of 0.3 of theirs, min F' alone rejects 7.6 % of true hypotheses at 5 % and 2.5 % at 5 % / 11. So a difference must
pass both tests, and the wider of the two intervals is given.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

Number = float | int
LEVEL = 0.05  # of a family of claims
POWER = 0.8  # with which the smallest difference would be seen
_MOST = 100_000  # repeats that are tried
_ROUNDING = 1e-9  # of a value


@dataclass(frozen=True)
class MeanError:
    """The standard error of a mean over repeats, with its degrees of freedom; and where the test items are a sample
    too, theirs and that of both together. items: None where it is not known."""

    repeats: float
    free: float
    items: float | None
    whole: float
    whole_free: float

    @property
    def tests(self) -> tuple[tuple[float, float], ...]:
        """(error, degrees of freedom) of each t test that a difference must pass; none where all repeats agree and the
        items are not known, of which no test can be made."""
        both = (self.repeats, self.free), (self.whole, self.whole_free)
        return tuple(each for each in dict.fromkeys(both) if each[0] > 0.0)


def error_of(values: Sequence[Number], *, items: float | None = None, number: int = 0) -> MeanError:
    """Of the mean of `values`, one for each repeat. items: the standard error over `number` test items.

    Raises: ValueError for fewer than two values.
    """
    if len(values) < 2:
        raise ValueError(f"wanted at least two repeats for a standard error, given {len(values)}")
    mean = math.fsum(values) / len(values)
    free = float(len(values) - 1)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / free)
    repeats = 0.0 if agree(values) else deviation / math.sqrt(len(values))
    if not items:
        return MeanError(repeats, free, items, repeats, free)
    whole = math.hypot(repeats, items)
    return MeanError(repeats, free, items, whole, whole**4 / (repeats**4 / free + items**4 / (number - 1)))


def agree(values: Sequence[Number]) -> bool:
    """Whether all are one number but for rounding, of which no t test may make a standard error."""
    return bool(max(values) - min(values) <= _ROUNDING * max(map(abs, values)))


def p_value(distance: Number, error: MeanError) -> float | None:
    """Two-sided, of a mean that lies `distance` from what would be expected by chance; None where no test is."""
    from scipy.stats import t  # here, since it takes a second and a run needs none of it

    return max((float(2 * t.sf(abs(distance) / size, free)) for size, free in error.tests), default=None)


def half_width(error: MeanError, level: float) -> float | None:
    """Half the width of the interval of a mean, at a level such as 0.95; None where no test is."""
    from scipy.stats import t

    return max((size * float(t.ppf((1 + level) / 2, free)) for size, free in error.tests), default=None)


def holm(p_values: Sequence[Number]) -> list[float]:
    """Adjusted p-values: those at most `LEVEL` hold together (Holm 1979, Scandinavian Journal of Statistics 6:65-70).

    The k-th smallest of m is multiplied by m - k + 1, and none is smaller than one before it.
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, greatest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        greatest = max(greatest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = greatest
    return adjusted


def power(ratio: Number, free: Number, level: float) -> float:
    """The chance that a two-sided t test sees a true difference of `ratio` standard errors.

    The mean of Phi(ratio - edge * chi / sqrt(free)) over the chi distribution; scipy's noncentral t gives NaN far out.
    """
    from scipy.integrate import quad
    from scipy.stats import chi, norm, t

    edge = t.isf(level / 2, free)
    low, high = chi.ppf(1e-12, free), chi.isf(1e-12, free)
    found, _ = quad(lambda x: norm.cdf(ratio - edge * x / math.sqrt(free)) * chi.pdf(x, free), low, high, limit=200)
    return float(found)


def smallest_seen(error: MeanError, level: float = LEVEL) -> float | None:
    """The difference that each test with this standard error sees with a chance of `POWER`; None where no test is."""
    return max((size * _ratio_seen(free, level) for size, free in error.tests), default=None)


def _ratio_seen(free: float, level: float) -> float:
    """In standard errors."""
    from scipy.optimize import brentq

    high = 1.0
    while power(high, free, level) < POWER:
        high *= 2
    return float(brentq(lambda ratio: power(ratio, free, level) - POWER, 0.0, high))


def repeats_needed(sd: Number, difference: Number, level: float = LEVEL) -> int:
    """The fewest repeats with which a paired t test sees `difference` with a chance of `POWER`. sd: of the paired
    differences. Raises: ValueError for what is not above 0, and where 100,000 are too few."""
    if not (sd > 0 and difference > 0):
        raise ValueError(f"wanted a deviation and a difference above 0, given {sd} and {difference}")

    def enough(repeats: int) -> bool:
        return power(difference / sd * math.sqrt(repeats), repeats - 1, level) >= POWER

    high = 2
    while not enough(high):
        high *= 2
        if high > _MOST:
            raise ValueError(f"wanted at most {_MOST:,} repeats, but a difference of {difference} at {sd} needs more")
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
