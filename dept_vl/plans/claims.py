"""A claim of a paper against our runs: a difference or a ratio with its interval, and one of three verdicts.

    holds                           the whole interval lies on the claimed side
    does not hold                   the whole interval lies on the other side
    cannot be judged at this size   everything else, and always below three repeats

The two sides are compared repeat by repeat: the same seed, the same few-shot draw, or the same round of a timing. The
interval is `plans.spread`'s, 95 %; with three repeats it reaches from the least to the greatest of them, so that a
verdict then says that all three agree. Sizes and counted FLOPs have no spread and are compared as they are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dept_vl.plans.schema import Claim
from dept_vl.plans.spread import FEWEST, spread
from dept_vl.plans.table import EXACT, UNITS, Table, values

HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be judged at this size"


@dataclass(frozen=True)
class Judged:
    """value: the mean difference (in `unit`), or the ratio. first, second: the two sides. by_repeat: the value of each
    pair. reason: why nothing could be computed, or what to know beside the verdict."""

    claim: Claim
    verdict: str
    value: float | None = None
    interval: tuple[float, float] | None = None
    first: float | None = None
    second: float | None = None
    by_repeat: tuple[float, ...] = ()
    unit: str = ""
    reason: str = ""

    @property
    def ours(self) -> str:
        """ "84.1 against 79.9 points: +4.2 [1.0, 6.8], 3 repeats"."""
        if self.value is None:
            return self.reason
        ratio = self.claim.kind in ("below", "above", "steadier")
        sides = " ".join(filter(None, (number(self.first), "against", number(self.second), self.unit)))
        value = f": ratio {self.value:.2f}" if ratio else f": {self.value:+.1f}"
        if self.interval is not None:
            digits = 2 if ratio else 1
            value += f" [{self.interval[0]:.{digits}f}, {self.interval[1]:.{digits}f}]"
        repeats = f", {len(self.by_repeat)} repeat{'s'[: len(self.by_repeat) - 1]}" if self.by_repeat else ""
        return f"{sides}{value}{repeats}{f' ({self.reason})' if self.reason else ''}"


def judge(table: Table, claim: Claim) -> Judged:
    """The verdict on one claim. Raises: BadStudy for a measure that there is not."""
    if claim.kind == "cannot":
        return Judged(claim, OPEN, reason=claim.why)
    second_measure = claim.second_measure or claim.measure
    first = values(table, claim.measure, claim.first, tasks=claim.tasks, target=claim.target)
    second = values(table, second_measure, claim.second, tasks=claim.tasks, target=claim.target)
    pairs = [(first[each], second[each]) for each in first if each in second]
    if not pairs:
        return Judged(claim, OPEN, reason=_why_none(table, claim))
    if claim.kind == "steadier":
        return _steadier(table, claim)
    ratio = claim.kind in ("below", "above")
    if ratio and any(b == 0 for _, b in pairs):
        return Judged(claim, OPEN, reason="a ratio to zero")
    compared = [a / b if ratio else a - b for a, b in pairs]
    noise = _noise(table, claim) if claim.kind == "within_noise" else None
    limit = float(claim.margin) if ratio else -float(noise or claim.margin or 0.0)
    exact = claim.measure in EXACT and second_measure in EXACT
    found = spread(compared)
    interval = (found.mean, found.mean) if exact else found.interval
    missing = max(len(first), len(second)) - len(pairs)
    notes = [f"{missing} more without a pair"] if missing else []
    if noise is not None:
        notes.append(f"standard deviation of {', '.join(claim.second)} over seeds {noise:.1f}")
    return Judged(
        claim,
        verdict(interval, limit, upwards=claim.kind != "below"),
        found.mean,
        None if exact else found.interval,
        math.fsum(a for a, _ in pairs) / len(pairs),
        math.fsum(b for _, b in pairs) / len(pairs),
        () if exact else tuple(compared),
        UNITS.get(claim.measure, ""),
        "; ".join(notes),
    )


def verdict(interval: tuple[float, float] | None, limit: float, *, upwards: bool) -> str:
    """`upwards`: the claim is that the value lies above `limit`, else below; at it is neither. None: too few repeats
    for an interval."""
    if interval is None:
        return OPEN
    low, high = interval
    if low > limit if upwards else high < limit:
        return HOLDS
    if high <= limit if upwards else low >= limit:
        return FAILS
    return OPEN


def _why_none(table: Table, claim: Claim) -> str:
    cells = {*claim.first, *claim.second}
    left = sum(1 for cell in cells if not any(table.of(cell)))
    if claim.measure.startswith("cost_"):
        return "not measured yet"
    if claim.measure.startswith("reach_") and not left:
        return "the score was not reached in any pair of runs"
    return "not run yet" if left else f"the runs do not tell {claim.measure}"


def _noise(table: Table, claim: Claim) -> float:
    """The second side's standard deviation over seeds, within each cell and task."""
    return pooled_sd(_groups(table, claim, claim.second))[0]


def _groups(table: Table, claim: Claim, cells: Sequence[str]) -> list[list[float]]:
    """By cell and task, the values of its repeats, where there are two or more."""
    groups = [
        list(values(table, claim.measure, [cell], tasks=[task]).values())
        for cell in cells
        for task in table.plan.cell(cell).tasks
        if not claim.tasks or task in claim.tasks
    ]
    return [each for each in groups if len(each) > 1]


def _steadier(table: Table, claim: Claim) -> Judged:
    """The ratio of two standard deviations over seeds, pooled over cells and tasks; its interval is the F
    distribution's, which takes the scores of a setting for normal."""
    (first, free), (second, others) = (pooled_sd(_groups(table, claim, each)) for each in (claim.first, claim.second))
    if min(free, others) < FEWEST - 1:
        return Judged(claim, OPEN, reason="too few seeds for a standard deviation")
    if not first or not second:
        return Judged(claim, OPEN, reason="a ratio to zero")
    from scipy.stats import f as f_distribution

    low, high = (1 / math.sqrt(f_distribution.ppf(each, free, others)) for each in (0.975, 0.025))
    interval = (first / second * low, first / second * high)
    judged = verdict(interval, 1.0, upwards=False)
    return Judged(
        claim, judged, first / second, interval, first, second, (), "points", f"{free} and {others} degrees of freedom"
    )


def pooled_sd(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """The standard deviation within the groups, and its degrees of freedom."""
    free = sum(len(group) - 1 for group in groups)
    if not free:
        return 0.0, 0
    squares = [(value - math.fsum(group) / len(group)) ** 2 for group in groups for value in group]
    return math.sqrt(math.fsum(squares) / free), free


def number(value: Any) -> str:
    """Three or four digits: 84.1, 0.031, 12,800."""
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 1 or value == 0 else f"{value:.3g}"
