"""Families of claims: who is corrected together, what Holm gives, and how the verdicts are counted."""

import dataclasses

import pytest

from dept_vl.plans.claims import CONTRADICTED, SUPPORTED, UNDECIDED, UNTESTED, Judged
from dept_vl.plans.schema import Claim
from dept_vl.plans.significance import error_of
from dept_vl.plans.verdicts import BY_CONSTRUCTION, OWN_QUESTIONS, PAPERS_CLAIMS, decide, judge_all, tally

VALUES = (3.9, 4.0, 4.1, 4.2)


def judged(p, interval=(1.0, 2.0), **settings):
    claim = Claim(**{"name": "a", "published": "b", "first": ("x",), "second": ("y",), **settings})
    limit = float(claim.margin or 0.0)
    return Judged(claim, UNDECIDED, 1.5, limit, interval, p=p, error=error_of(VALUES), by_repeat=VALUES, unit="points")


def verdicts(*family):
    return [each.verdict for each in decide(family)]


def test_nothing_is_supported_that_holm_does_not_give():
    """Alone 0.03 is enough; beside three others, of which the textbook example is made, it is not."""
    assert verdicts(judged(0.03)) == [SUPPORTED]
    found = decide([judged(p) for p in (0.01, 0.04, 0.03, 0.005)])
    assert [each.verdict for each in found] == [SUPPORTED, UNDECIDED, UNDECIDED, SUPPORTED]
    assert [each.adjusted for each in found] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert {each.family for each in found} == {4}


def test_the_side_decides_and_the_interval_has_to_agree():
    assert verdicts(judged(0.001, (-2.0, -1.0))) == [CONTRADICTED]
    assert verdicts(judged(0.001, (-0.1, 2.0))) == [UNDECIDED]
    assert verdicts(judged(0.001, (0.5, 0.9), kind="below", margin=1)) == [SUPPORTED]
    assert verdicts(judged(0.001, (1.1, 1.2), kind="below", margin=1)) == [CONTRADICTED]


def test_a_claim_that_is_not_run_counts_all_the_same():
    left = Judged(judged(0.5).claim, UNTESTED, reason="not run yet")
    assert verdicts(judged(0.03), left) == [UNDECIDED, UNTESTED]


def test_an_undecided_claim_says_what_could_have_been_seen():
    alone = decide([judged(0.2)])[0]
    among = decide([judged(0.2) for _ in range(20)])[0]
    assert among.seen > alone.seen > 0
    assert alone.judgement == f"undecided: the smallest difference that could have been seen is {alone.seen:.3f} points"
    assert decide([judged(0.001)])[0].seen is None and decide([judged(0.001)])[0].judgement == "supported"


def test_a_paper_is_a_family_and_our_own_questions_are_another(done):
    plan = dataclasses.replace(
        done.plan,
        claims=tuple(
            Claim("a", "b", first=("long",), second=("short",), **more)
            for more in (
                {}, {"origin": "ours"}, {"kind": "below", "margin": 1, "measure": "weights"}, {"origin": "ours"}, {},
            )
        ) + done.plan.claims[1:],
    )  # fmt: skip
    table = dataclasses.replace(done, plan=plan)
    found = judge_all([table])
    assert [each.family for each in found["first"]] == [2, 2, 0, 2, 2, 0]
    counts = tally([plan], found)
    assert sum(counts[PAPERS_CLAIMS].values()) == 3 and counts[PAPERS_CLAIMS][UNTESTED] == 1
    assert sum(counts[OWN_QUESTIONS].values()) == 2 and counts[BY_CONSTRUCTION][CONTRADICTED] == 1
