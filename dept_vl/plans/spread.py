"""Mean, standard deviation and bootstrap interval of one score over seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FEWEST = 3  # runs from which an interval is drawn
MANY = 10  # runs from which its coverage comes near what it says


@dataclass(frozen=True)
class Spread:
    """values: one per run. sd: with n - 1 in the denominator; None for one run. interval: None below FEWEST runs.

    level: of the interval, a fraction. resamples: of the bootstrap, drawn from `seed`.
    """

    values: tuple[float, ...]
    mean: float
    sd: float | None
    interval: tuple[float, float] | None
    level: float
    resamples: int
    seed: int
    method: str = "percentile"


def spread(values: Sequence[float], *, level: float = 0.95, resamples: int = 10_000, seed: int = 0) -> Spread:
    """The mean of runs that differ in their seed alone, and how far another set of seeds might move it.

    The interval is the percentile bootstrap's. It is too narrow for few runs: drawn at 95 % around 4,000 samples of a
    normal variable, it held the true mean in 75 % (3 runs), 84 % (5) and 90 % (10) of them; BCa in 72, 84 and 89 %.

    Raises: ValueError without values, and for values that are not finite.
    """
    if not values or not all(math.isfinite(value) for value in values):
        raise ValueError(f"spread: wanted at least one value and only finite ones, given {list(values)}")
    mean = math.fsum(values) / len(values)
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)) if len(values) > 1 else None
    interval = _interval(values, level, resamples, seed) if len(values) >= FEWEST else None
    return Spread(tuple(map(float, values)), mean, sd, interval, level, resamples, seed)


def _interval(values: Sequence[float], level: float, resamples: int, seed: int) -> tuple[float, float]:
    from scipy.stats import bootstrap  # here, since it takes a second and a run needs none of it

    found = bootstrap(
        (np.asarray(values, dtype=float),),
        np.mean,
        confidence_level=level,
        n_resamples=resamples,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)
