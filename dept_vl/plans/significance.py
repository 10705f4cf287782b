"""Whether a difference is more than chance: paired t, Holm's correction, the smallest difference that could be seen.

    t = (mean - null) / SE,  SE = sd / sqrt(n)          over n repeats (seeds, draws or rounds)
    SE^2 = SE_repeats^2 + SE_items^2                    where the test items are a sample too

The second line is Clark's min F' (Clark 1973, Journal of Verbal Learning and Verbal Behavior 12:335-359): with
F = t^2, F1 F2 / (F1 + F2) = difference^2 / (SE1^2 + SE2^2), whose degrees of freedom are Satterthwaite's. It is a
little conservative, because each of the two errors holds a part of the residual.
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
    """The standard error of a mean difference. repeats, items: its two parts, None where a part is not known."""

    whole: float
    free: float
    repeats: float
    items: float | None = None


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
        return MeanError(repeats, free, repeats, items)
    whole = math.hypot(repeats, items)
    return MeanError(whole, whole**4 / (repeats**4 / free + items**4 / (number - 1)), repeats, items)


def agree(values: Sequence[Number]) -> bool:
    """Whether all are one number but for rounding, of which no t test may make a standard error."""
    return bool(max(values) - min(values) <= _ROUNDING * max(map(abs, values)))


def p_value(distance: Number, error: MeanError, repeats: int) -> float:
    """Two-sided, of a mean that lies `distance` from what would be expected by chance.

    Repeats that all agree have no standard error. Their p is that of the sign test, 2^(1 - repeats): three that agree
    have 0.25. At no distance it is 1.
    """
    if error.whole == 0.0:
        return 1.0 if distance == 0.0 else min(1.0, 2.0 ** (1 - repeats))
    from scipy.stats import t  # here, since it takes a second and a run needs none of it

    return float(2 * t.sf(abs(distance) / error.whole, error.free))


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
    """The difference that a test with this standard error sees with a chance of `POWER`; None without an error."""
    if error.whole == 0.0:
        return None
    from scipy.optimize import brentq

    high = 1.0
    while power(high, error.free, level) < POWER:
        high *= 2
    return error.whole * float(brentq(lambda ratio: power(ratio, error.free, level) - POWER, 0.0, high))


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
