"""What is read of a run: measures, and how far its training had come when it reached another's score."""

import dataclasses
import json

import pytest

from dept_vl.plans.runs import StaleRun, make_schedule
from dept_vl.plans.settings import BadPlan
from dept_vl.plans.table import reach, read_table, spent, values
from tests.plans.fake_runs import leave_run


@pytest.fixture
def two(plans, tmp_path):
    """two(fast score, **facts): an outcome that gets to `fast score`, and one that gets to 0.5."""
    schedule = make_schedule([plans["first"]], tmp_path)

    def two(score, **info):
        for run in schedule.runs.values():
            is_fast = run.config.adapter.args["num_virtual_tokens"] == 8
            leave_run(run.config, (lambda _: score) if is_fast else (lambda _: 0.5), **(info if is_fast else {}))
        found = read_table(plans["first"], schedule, tmp_path)
        return found.of("long", "shapes-qnli")[0], found.of("short", "shapes-qnli")[0]

    return two


def test_a_run_that_learns_twice_as_fast_reaches_the_score_with_half_the_flops(two):
    fast, slow = two(1.0)
    assert reach(slow, slow, "reach_flops") == pytest.approx(100.0)
    assert reach(fast, slow, "reach_flops") == pytest.approx(50.0)
    assert reach(fast, slow, "reach_seconds") == pytest.approx(50.0)


def test_a_score_that_is_never_reached_has_no_cost(two):
    fast, slow = two(0.4)
    assert reach(fast, slow, "reach_flops") is None


def test_operations_of_stages_are_those_that_the_log_counted_and_the_scoring(two):
    stages = [{"from_step": 1}, {"from_step": 21}]
    fast, _ = two(1.0, flops=30_000, flops_full=40_000, scoring_flops=2_000, stages=stages)
    assert [each.flops for each in spent(fast)] == [None] * 4  # a log without them: stages cannot be told apart
    path = fast.folder / "metrics.jsonl"
    counted = {10: 5_000, 20: 10_000, 30: 20_000, 40: 30_000}
    with path.open("a") as file:
        file.writelines(json.dumps({"step": step, "flops": flops}) + "\n" for step, flops in counted.items())
    assert [each.flops for each in spent(fast)] == [7_000, 12_000, 22_000, 32_000]


def test_the_score_to_reach_is_the_targets_best(two):
    """A target that ends below its best is not reached by its own end alone."""
    fast, slow = two(1.0)
    slow.results["train_info"]["metrics"][1]["accuracy"] = 0.9
    assert reach(slow, slow, "reach_flops") == pytest.approx(50.0)


def test_without_counted_flops_there_is_no_share_of_them(two):
    fast, slow = two(1.0, flops=None, flops_full=None)
    assert reach(fast, slow, "reach_flops") is None and reach(fast, slow, "reach_seconds") == pytest.approx(50.0)


def test_measures_of_a_run(done):
    assert values(done, "score", ["short"]) == pytest.approx({(seed, 0): 10 * seed + 4 for seed in (1, 2, 3)})
    assert set(values(done, "weights", ["long"]).values()) == {750.0}
    assert set(values(done, "flops_share", ["long"]).values()) == {100.0}
    assert set(values(done, "train_seconds", ["long", "short"]).values()) == {40.0}
    assert values(done, "positive_last", ["short"]) == {}


def test_diagnostics_are_read_from_the_log(done):
    for number, outcome in enumerate(done.of("short")):
        path = outcome.folder / "metrics.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        told = [{**line, "diagnostics": {"positive": 20 - line["step"] // 10 - number}} for line in lines]
        path.write_text("".join(json.dumps(line) + "\n" for line in told))
    first, last = (values(done, name, ["short"], tasks=["shapes-qnli"]) for name in ("positive_first", "positive_last"))
    assert {each: first[each] - last[each] for each in first} == {(seed, 0): 3.0 for seed in (1, 2, 3)}


def test_an_unknown_measure_is_refused_with_the_nearest(done):
    with pytest.raises(BadPlan, match=r"given 'scores'.* Did you mean 'score'"):
        values(done, "scores", ["short"])


def test_a_folder_with_another_run_is_refused(plans, tmp_path):
    schedule = make_schedule([plans["first"]], tmp_path)
    first, *_ = schedule.runs.values()
    leave_run(dataclasses.replace(first.config, max_steps=50))
    with pytest.raises(StaleRun, match=r"max_steps 50, wanted 40"):
        read_table(plans["first"], schedule, tmp_path)
