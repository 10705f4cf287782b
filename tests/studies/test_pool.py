"""Runs on several workers: order, failures, what is finished, what is begun."""

import threading
import time
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from dept_vl.studies import pool
from dept_vl.studies.plan import make_plan
from dept_vl.studies.pool import LostWorker, run_all
from tests.studies.conftest import leave_run


@pytest.fixture
def plan(studies, tmp_path):
    return make_plan(studies.values(), tmp_path)


def test_every_run_is_done_once_and_sources_come_first(plan, threads):
    order, said = [], []

    def work(config):
        leave_run(config)
        order.append(Path(config.output_dir).name)

    assert run_all(plan.runs, jobs=2, say=said.append, work=work, pool=threads) == {}
    assert sorted(order) == sorted(plan.runs)
    for run in plan.runs.values():
        assert run.after is None or order.index(run.after) < order.index(run.name)
    assert said[0] == "18 runs, 0 of them finished before"
    assert said[1].startswith("run 1 of 18: ") and said[1].endswith(" min left") and len(said) == 19


def test_a_run_waits_until_its_source_has_ended(plan, threads):
    carried = [run for run in plan.runs.values() if run.after]
    runs = {run.name: run for run in (plan.runs[carried[0].after], *carried)}
    ended = []

    def work(config):
        if config.adapter.init_from is None:
            time.sleep(0.1)
        else:
            assert ended == [carried[0].after], "its source is still going"
            return
        ended.append(Path(config.output_dir).name)

    assert run_all(runs, jobs=4, say=lambda line: None, work=work, pool=threads) == {}


def test_what_is_finished_is_not_done_again(plan, threads):
    first, *_ = plan.runs.values()
    leave_run(first.config)
    done, said = [], []
    run_all(plan.runs, jobs=2, say=said.append, work=lambda config: done.append(config.output_dir), pool=threads)
    assert len(done) == 17 and str(first.folder) not in done and "18 runs, 1 of them" in said[0]


def test_a_failure_stops_what_starts_from_it_and_nothing_else(plan, threads):
    source = next(run.after for run in plan.runs.values() if run.after)
    done, said = [], []

    def work(config):
        if config.output_dir.endswith(source):
            raise ValueError("no such weights")
        done.append(config.output_dir)

    failed = run_all(plan.runs, jobs=3, say=said.append, work=work, pool=threads)
    assert failed.pop(source) == "ValueError: no such weights"
    assert len(failed) == 3 and all(reason.endswith(source) for reason in failed.values())
    assert len(done) == 18 - 4
    assert sum("failed: " in line for line in said) == 4


def test_a_killed_worker_ends_the_command_with_its_reason(plan):
    class Killed(ThreadPoolExecutor):
        def submit(self, *_):
            raise BrokenExecutor("terminated abruptly")

    with pytest.raises(LostWorker, match="one of them was killed: terminated abruptly"):
        run_all(plan.runs, jobs=2, say=lambda line: None, work=leave_run, pool=Killed)


def test_two_commands_do_a_run_once(plan, monkeypatch):
    (first, *_), done = plan.runs.values(), []

    def run(config):
        time.sleep(0.05)
        leave_run(config)
        done.append(config)

    monkeypatch.setattr(pool, "run", run)
    both = [threading.Thread(target=pool.work, args=(first.config,)) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert len(done) == 1


def test_what_was_begun_goes_on(plan, monkeypatch):
    (first, *_), done = plan.runs.values(), []
    monkeypatch.setattr(pool, "run", done.append)
    monkeypatch.setattr(pool, "find_checkpoints", lambda folder: [folder / "step_10"])
    pool.work(first.config)
    assert done[0].resume_from_checkpoint == "last"
