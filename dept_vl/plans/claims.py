"""A claim against our runs: a difference or a ratio with its interval and its p-value.

The two sides are compared repeat by repeat: the same seed, the same few-shot draw, or the same round of a timing. The
p-value is the paired t test's, and where the predictions are here the sampling error of the test items counts too
(`significance`); of two deviations over seeds it is the F test's. What is counted (weights, operations, memory of a
step) has no p-value: it holds by construction or not. `verdicts` corrects the p-values of a family of claims.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dept_vl.plans.item_error import item_error
from dept_vl.plans.schema import Claim
from dept_vl.plans.significance import POWER, MeanError, error_of, p_value, smallest_seen
from dept_vl.plans.spread import FEWEST, spread
from dept_vl.plans.table import EXACT, UNITS, Repeat, Table, values

SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"
CONSTRUCTED, UNTESTED = "true by construction", "not tested here"
_SMALLEST = 1e-4  # of the p-values that are shown
VERDICTS = (SUPPORTED, CONTRADICTED, UNDECIDED, CONSTRUCTED, UNTESTED)


@dataclass(frozen=True)
class Judged:
    """value: the mean difference (in `unit`), or the ratio. limit: what it is held against. interval: 95 %, of this
    claim alone. first, second: the two sides. by_repeat: the value of each pair.

    p: of this claim alone; None where nothing is tested. test: how it was made. adjusted: by Holm over `family` claims.
    seen: how far from the limit a value would have to lie to be seen. reason: why nothing could be computed, or what to
    know beside the verdict.
    """

    claim: Claim
    verdict: str
    value: float | None = None
    limit: float = 0.0
    interval: tuple[float, float] | None = None
    first: float | None = None
    second: float | None = None
    by_repeat: tuple[float, ...] = ()
    unit: str = ""
    reason: str = ""
    p: float | None = None
    test: str = ""
    error: MeanError | None = None
    free: tuple[int, int] | None = None  # of an F test
    adjusted: float | None = None
    family: int = 0
    seen: float | None = None
    repeats: str = "seeds"

    @property
    def is_ratio(self) -> bool:
        return self.claim.kind in ("below", "above", "steadier")

    @property
    def upwards(self) -> bool:
        """Whether the claim is that the value lies above the limit."""
        return self.claim.kind not in ("below", "steadier")

    @property
    def ours(self) -> str:
        """ "65.8 against 60.2 points: +5.6 (95 % interval 0.4 to 10.8; paired t over 3 draws, p = 0.045, after Holm
        0.91)"."""
        if self.value is None:
            return self.reason
        greatest = max(abs(self.first), abs(self.second))
        digits = 2 if self.is_ratio or 1 <= greatest < 10 else 1 if greatest >= 10 else 3
        sides = " ".join(filter(None, (number(self.first), "against", number(self.second), self.unit)))
        value = f": ratio {self.value:.2f}" if self.is_ratio else f": {self.value:+.{digits}f}"
        facts = []
        if self.interval is not None:
            facts.append(f"95 % interval {self.interval[0]:.{digits}f} to {self.interval[1]:.{digits}f}")
        if self.p is not None:
            corrected = f", after Holm {shown_p(self.adjusted)}" if self.adjusted is not None else ""
            equals = "" if self.p < _SMALLEST else "= "
            facts.append(f"{self.test}, p {equals}{shown_p(self.p)}{corrected}")
        elif self.by_repeat:
            facts.append(f"over {len(self.by_repeat)} {self.repeats}")
        facts += [self.reason] if self.reason else []
        return f"{sides}{value}" + (f" ({'; '.join(facts)})" if facts else "")

    @property
    def compared(self) -> str:
        """ "m = 0 against m = 5; m = 10": the cells, or the measures where a group is compared with itself."""
        first, second = ("; ".join(each) for each in (self.claim.first, self.claim.second))
        if first and first == second:
            return f"{first}: {self.claim.measure} against {self.claim.second_measure or self.claim.measure}"
        return f"{first} against {second}" if first else "-"

    @property
    def judgement(self) -> str:
        """The verdict; of an undecided claim with the smallest difference that could have been seen."""
        if self.verdict != UNDECIDED or self.seen is None:
            return self.verdict
        if self.claim.kind == "steadier":
            return f"{self.verdict}: only a ratio of {self.seen:.2f} or less could have been seen"
        if self.unit == "points" and self.seen > 100:
            return f"{self.verdict}: not even a difference of 100 points could have been seen"
        what = f"is {number(self.seen)}" if self.is_ratio else f"is {number(self.seen)} {self.unit}".rstrip()
        start = f" from a ratio of {self.limit:g}" if self.is_ratio else f" from {self.limit:g}" if self.limit else ""
        return f"{self.verdict}: the smallest difference{start} that could have been seen {what}"


def judge(table: Table, claim: Claim) -> Judged:
    """One claim by itself: its p-value, no correction; undecided where that is for `verdicts` to say.

    Raises: BadPlan for a measure that there is not.
    """
    if claim.kind == "cannot":
        return Judged(claim, UNTESTED, reason=claim.why)
    second_measure = claim.second_measure or claim.measure
    first = values(table, claim.measure, claim.first, tasks=claim.tasks, target=claim.target)
    second = values(table, second_measure, claim.second, tasks=claim.tasks, target=claim.target)
    paired = [each for each in first if each in second]
    if not paired:
        verdict, reason = _why_none(table, claim)
        return Judged(claim, verdict, reason=reason)
    if claim.kind == "steadier":
        return _steadier(table, claim)
    if claim.measure.startswith("reach_"):
        sides = (values(table, "score", cells, tasks=claim.tasks) for cells in (claim.first, claim.second))
        ended = set.intersection(*map(set, sides))
        if never := ended.difference(paired):
            reason = f"the score was not reached in {len(never)} of {len(ended)} pairs of runs"
            return Judged(claim, UNDECIDED, reason=reason)
    pairs = [(first[each], second[each]) for each in paired]
    ratio = claim.kind in ("below", "above")
    if ratio and any(b <= 0 or (a <= 0 and not is_constructed(claim)) for a, b in pairs):
        return Judged(claim, UNDECIDED, reason="a ratio of values that are not all above zero")
    compared = tuple(a / b if ratio else a - b for a, b in pairs)
    judged = Judged(
        claim,
        UNDECIDED,
        math.fsum(compared) / len(compared),
        float(claim.margin) if ratio else -float(claim.margin or 0.0),
        first=math.fsum(a for a, _ in pairs) / len(pairs),
        second=math.fsum(b for _, b in pairs) / len(pairs),
        by_repeat=compared,
        unit=UNITS.get(claim.measure, ""),
        repeats=_repeats(table, claim, paired),
    )
    if is_constructed(claim):
        holds = judged.value > judged.limit if judged.upwards else judged.value < judged.limit
        return dataclasses.replace(judged, verdict=CONSTRUCTED if holds else CONTRADICTED, by_repeat=())
    wanted = _wanted(table, claim)
    notes = [f"{wanted - len(paired)} of {wanted} planned pairs are missing"] if wanted > len(paired) else []
    if len(compared) < FEWEST:
        notes.append(f"a test takes {FEWEST}")
        return dataclasses.replace(judged, reason="; ".join(notes))
    return _tested(table, dataclasses.replace(judged, reason="; ".join(notes)))


def is_constructed(claim: Claim) -> bool:
    """Whether the claim is about what is counted."""
    return claim.kind != "cannot" and {claim.measure, claim.second_measure or claim.measure} <= set(EXACT)


def counts_items(claim: Claim) -> bool:
    """Whether the test items of its two sides are a sample too, whose error joins that of the seeds."""
    compared = claim.kind not in ("cannot", "steadier")
    return compared and claim.measure == "score" and not claim.second_measure


def _tested(table: Table, judged: Judged) -> Judged:
    claim, items = judged.claim, None
    if counts_items(claim):
        items = item_error(table, claim.first, claim.second, tasks=claim.tasks, claim=claim.name)
    size, count = items or (None, 0)
    error = error_of(judged.by_repeat, items=size, number=count)
    p = p_value(judged.value - judged.limit, error)
    if p is None:
        reasons = filter(None, (judged.reason, "all of them give the same, of which no test can be made"))
        return dataclasses.replace(judged, reason="; ".join(reasons))
    over = f"over {len(judged.by_repeat)} {judged.repeats}"
    test = f"paired t and min F' {over}, {count:,} items" if error.items else f"paired t {over}"
    return dataclasses.replace(
        judged,
        interval=spread(judged.by_repeat, error=error).interval,
        p=p,
        test=test,
        error=error,
    )


def _repeats(table: Table, claim: Claim, repeats: Sequence[Repeat]) -> str:
    if claim.measure.startswith("cost_"):
        return "rounds"
    return "draws" if len({draw for _, draw in repeats}) > 1 else "seeds"


def _wanted(table: Table, claim: Claim) -> int:
    """How many repeats both sides are to have."""
    if claim.measure.startswith("cost_"):
        return 0
    cells = [table.plan.cell(name) for name in (*claim.first, *claim.second)]
    return len(set.intersection(*({(s, d) for s in each.seeds for d in each.draws} for each in cells)))


def _why_none(table: Table, claim: Claim) -> tuple[str, str]:
    cells = {*claim.first, *claim.second}
    left = sum(1 for cell in cells if not any(table.of(cell))) if table.stored is None else 0
    if claim.measure.startswith("cost_"):
        return UNTESTED, "not measured yet, or its single values are not kept"
    if claim.measure.startswith("reach_") and not left:
        return UNDECIDED, "the score was not reached in any pair of runs"
    left = left or table.stored is not None
    return UNTESTED, "not run yet" if left else f"the runs do not tell {claim.measure}"


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
    """The ratio of two standard deviations over seeds, pooled over cells and tasks. The F test takes the scores of a
    setting for normal and the two sides for independent."""
    (first, free), (second, others) = (pooled_sd(_groups(table, claim, each)) for each in (claim.first, claim.second))
    if min(free, others) < FEWEST - 1:
        return Judged(claim, UNDECIDED, reason="too few seeds for a standard deviation")
    if not first or not second:
        return Judged(claim, UNDECIDED, reason="a ratio to zero")
    from scipy.stats import f as f_distribution

    low, high = (1 / math.sqrt(f_distribution.ppf(each, free, others)) for each in (0.975, 0.025))
    ratio = first / second
    tails = f_distribution.cdf(ratio**2, free, others), f_distribution.sf(ratio**2, free, others)
    return Judged(
        claim,
        UNDECIDED,
        ratio,
        1.0,
        (ratio * low, ratio * high),
        first,
        second,
        unit="points",
        p=min(1.0, 2 * float(min(tails))),
        test=f"F test with {free} and {others} degrees of freedom",
        free=(free, others),
    )


def seen_by(judged: Judged, level: float) -> float | None:
    """How far from its limit a value would have to lie to be seen at `level` with a chance of `POWER`; of two
    deviations, the ratio below 1 that would be."""
    if judged.free is not None:
        from scipy.stats import f as f_distribution

        edge = f_distribution.ppf(level / 2, *judged.free)
        return float(math.sqrt(edge / f_distribution.ppf(POWER, *judged.free)))
    return None if judged.error is None else smallest_seen(judged.error, level)


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


def shown_p(value: float | None) -> str:
    """0.045, or "< 0.0001"."""
    if value is None:
        return "-"
    return f"< {_SMALLEST:.4f}" if value < _SMALLEST else f"{value:.2g}"
