"""The verdicts on families of claims: Holm's correction over all claims of a paper, and the tally.

    supported              Holm's procedure rejects chance, and the whole interval lies on the claimed side
    contradicted           the same on the other side; or what is counted is not as claimed
    undecided              everything else, with the smallest difference that could have been seen
    true by construction   counted: weights, operations, memory of a step
    not tested here        it cannot be asked here, or was not run

A family holds every claim of a paper's plans that a test is to decide, run or not, so its size is fixed beforehand; our
own questions are one family together.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence

from dept_vl.plans.claims import (
    CONTRADICTED,
    SUPPORTED,
    UNDECIDED,
    VERDICTS,
    Judged,
    is_constructed,
    judge,
    seen_by,
)
from dept_vl.plans.schema import PlanFile
from dept_vl.plans.significance import LEVEL, holm
from dept_vl.plans.table import Table

Verdicts = dict[str, tuple[Judged, ...]]  # by plan
PAPERS_CLAIMS, OWN_QUESTIONS = "claims of the papers", "our own questions"
BY_CONSTRUCTION = "what holds by construction"


def judge_all(tables: Iterable[Table]) -> Verdicts:
    """Every claim of the plans, in their order, with its verdict."""
    tables = list(tables)
    found = {table.plan.name: [judge(table, claim) for claim in table.plan.claims] for table in tables}
    families: dict[str, list[tuple[str, int]]] = {}
    for table in tables:
        for place, claim in enumerate(table.plan.claims):
            if claim.kind != "cannot" and not is_constructed(claim):
                families.setdefault(table.plan.origin(claim), []).append((table.plan.name, place))
    for members in families.values():
        judged = [found[name][place] for name, place in members]
        for (name, place), each in zip(members, decide(judged), strict=True):
            found[name][place] = each
    return {name: tuple(each) for name, each in found.items()}


def decide(family: Sequence[Judged]) -> list[Judged]:
    """With Holm's correction and the verdict that it gives; a claim without a p-value counts as one of p = 1."""
    adjusted = holm([1.0 if each.p is None else each.p for each in family])
    rejected = sum(each <= LEVEL for each in adjusted)
    level = LEVEL / max(len(family) - rejected, 1)  # at which Holm's procedure stopped
    return [_decided(each, corrected, len(family), level) for each, corrected in zip(family, adjusted, strict=True)]


def _decided(judged: Judged, adjusted: float, size: int, level: float) -> Judged:
    if judged.p is None or judged.value is None or judged.interval is None:
        return dataclasses.replace(judged, family=size)
    low, high = judged.interval
    above, below = low > judged.limit, high < judged.limit
    found = UNDECIDED
    if adjusted <= LEVEL and (above or below):
        found = SUPPORTED if above == judged.upwards else CONTRADICTED
    seen = seen_by(judged, level) if found == UNDECIDED else None
    return dataclasses.replace(judged, verdict=found, adjusted=adjusted, family=size, seen=seen)


def families(plans: Iterable[PlanFile], verdicts: Verdicts) -> dict[str, int]:
    """By paper, and "ours": how many claims were corrected together."""
    return {plan.origin(each.claim): each.family for plan in plans for each in verdicts[plan.name] if each.family}


def tally(plans: Iterable[PlanFile], verdicts: Verdicts) -> dict[str, dict[str, int]]:
    """The verdicts counted, apart for claims of the papers, our own questions, and what holds by construction."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in (PAPERS_CLAIMS, OWN_QUESTIONS, BY_CONSTRUCTION)}
    for plan in plans:
        for each in verdicts[plan.name]:
            own = plan.origin(each.claim) == "ours"
            group = BY_CONSTRUCTION if is_constructed(each.claim) else OWN_QUESTIONS if own else PAPERS_CLAIMS
            counts[group][each.verdict] += 1
    return {group: {verdict: found[verdict] for verdict in VERDICTS} for group, found in counts.items()}
