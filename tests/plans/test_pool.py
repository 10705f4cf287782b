"""Runs on several workers: order, failures, what is finished, what is begun."""

import dataclasses
import threading
import time
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from dept_vl.plans import pool
from dept_vl.plans.pool import LostWorker, run_all
from dept_vl.plans.runs import make_schedule
from dept_vl.plans.workers import processes
from dept_vl.train.resumable import BadCheckpoint
from dept_vl.untrusted.folder_lock import FolderInUse
from tests.forks import FORKS
from tests.plans.fake_runs import began, grid, leave_run, share_slowly

PATIENCE = 120  # seconds that a process on a busy machine gets for its imports


@pytest.fixture
def schedule(plans, tmp_path):
    return make_schedule(plans.values(), tmp_path)


def test_every_run_is_done_once_and_sources_come_first(schedule, threads):
    order, said = [], []

    def work(config):
        leave_run(config)
        order.append(Path(config.output_dir).name)

    assert run_all(schedule.runs, jobs=2, say=said.append, work=work, pool=threads) == {}
    assert sorted(order) == sorted(schedule.runs)
    for run in schedule.runs.values():
        assert run.after is None or order.index(run.after) < order.index(run.name)
    assert said[0] == "18 runs, 0 of them finished before"
    assert said[1].startswith("run 1 of 18: ") and said[1].endswith(" min left") and len(said) == 19


def test_a_run_waits_until_its_source_has_ended(schedule, threads):
    carried = [run for run in schedule.runs.values() if run.after]
    runs = {run.name: run for run in (schedule.runs[carried[0].after], *carried)}
    ended = []

    def work(config):
        if "from" not in config.adapter.start:
            time.sleep(0.1)
        else:
            assert ended == [carried[0].after], "its source is still going"
            return
        ended.append(Path(config.output_dir).name)

    assert run_all(runs, jobs=4, say=lambda line: None, work=work, pool=threads) == {}


def test_a_run_waits_for_every_run_whose_prompt_it_takes(schedule, threads):
    first, second, third, *_ = (run for run in schedule.runs.values() if not run.waits_for)
    last = dataclasses.replace(third, sources=(first.name, second.name))
    runs = {run.name: run for run in (last, first, second)}
    ended = []

    def work(config):
        name = Path(config.output_dir).name
        assert name != last.name or sorted(ended) == sorted(last.sources), "a source is still going"
        time.sleep(0.1 * (name == second.name))
        ended.append(name)

    assert run_all(runs, jobs=4, say=lambda line: None, work=work, pool=threads) == {} and len(ended) == 3

    def fail(config):
        if config.output_dir.endswith(second.name):
            raise OSError("no disk")

    failed = run_all(runs, jobs=4, say=lambda line: None, work=fail, pool=threads)
    assert failed[last.name] == f"the run that it starts from failed: {second.name}" and first.name not in failed


def test_what_is_finished_is_not_done_again(schedule, threads):
    first, *_ = schedule.runs.values()
    leave_run(first.config)
    done, said = [], []
    run_all(schedule.runs, jobs=2, say=said.append, work=lambda config: done.append(config.output_dir), pool=threads)
    assert len(done) == 17 and str(first.folder) not in done and "18 runs, 1 of them" in said[0]


def test_a_failure_stops_what_starts_from_it_and_nothing_else(schedule, threads):
    source = next(run.after for run in schedule.runs.values() if run.after)
    done, said = [], []

    def work(config):
        if config.output_dir.endswith(source):
            raise ValueError("no such weights")
        done.append(config.output_dir)

    failed = run_all(schedule.runs, jobs=3, say=said.append, work=work, pool=threads)
    assert failed.pop(source) == "ValueError: no such weights"
    assert len(failed) == 3 and all(reason.endswith(source) for reason in failed.values())
    assert len(done) == 18 - 4
    assert sum("failed: " in line for line in said) == 4


def test_a_killed_worker_ends_the_command_with_its_reason(schedule):
    class Killed(ThreadPoolExecutor):
        def submit(self, *_):
            raise BrokenExecutor("terminated abruptly")

    with pytest.raises(LostWorker, match="one of them was killed: terminated abruptly"):
        run_all(schedule.runs, jobs=2, say=lambda line: None, work=leave_run, pool=Killed)


def test_what_was_begun_goes_on(schedule, monkeypatch):
    (first, *_), done = schedule.runs.values(), []
    monkeypatch.setattr(pool, "run", lambda config, **how: done.append((config, how)))
    monkeypatch.setattr(pool, "find_checkpoints", lambda folder: [folder / "step_10"])
    pool.work(first.config)
    ((config, how),) = done
    assert config.resume_from_checkpoint == "last" and how == {"take_finished": True, "baselines": False}


def test_a_run_whose_checkpoints_are_all_damaged_begins_anew(schedule, monkeypatch):
    (first, *_), asked = schedule.runs.values(), []

    def run(config, **how):
        asked.append(config.resume_from_checkpoint)
        if asked == ["last"]:
            raise BadCheckpoint("only damaged ones")

    monkeypatch.setattr(pool, "run", run)
    monkeypatch.setattr(pool, "find_checkpoints", lambda folder: [folder / "step_10"])
    pool.work(first.config)
    assert asked == ["last", None]


def test_a_free_place_is_used_while_another_run_goes_on(schedule, threads, monkeypatch):
    """A run that another command did is looked at again, whatever else takes long."""
    monkeypatch.setattr(pool, "PAUSE", 0.01)
    (long, other, *_), asked = schedule.runs.values(), []
    done = threading.Event()

    def work(config):
        if config.output_dir == str(long.folder):
            assert done.wait(20), "the other run waited for this one"
        else:
            asked.append(config.output_dir)
            if len(asked) < 3:
                raise FolderInUse(config.output_dir)
            done.set()
        leave_run(config)

    runs = {each.name: each for each in (long, other)}
    assert run_all(runs, jobs=2, say=lambda line: None, work=work, pool=threads) == {}


def test_what_another_command_does_is_left_to_it_and_looked_at_again(schedule, monkeypatch):
    monkeypatch.setattr(pool, "PAUSE", 0.01)
    (first, *_), asked, said = schedule.runs.values(), [], []

    def work(config):
        asked.append(config.output_dir)
        if len(asked) < 3:
            raise FolderInUse(config.output_dir)
        leave_run(config)

    assert run_all({first.name: first}, jobs=1, say=said.append, work=work) == {}
    assert len(asked) == 3 and sum("left to another command" in line for line in said) == 1


def test_an_error_that_would_come_again_is_kept_until_it_is_asked_for_again(schedule, monkeypatch):
    """A full disk, or a lack of memory, is not: the same command tries such a run again."""
    (first, *_), asked = schedule.runs.values(), []

    def run(config, take_finished, baselines):
        asked.append(config)
        raise errors[-1]

    errors = [OSError("no room")]
    monkeypatch.setattr(pool, "run", run)
    first.folder.parent.mkdir(parents=True)
    for error in (OSError("no room"), RuntimeError("out of memory"), ValueError("a loss of nan")):
        errors.append(error)
        failed = run_all({first.name: first}, jobs=1, say=lambda line: None)
        assert failed == {first.name: f"{type(error).__name__}: {error}"}
    assert "a loss of nan (--again" in run_all({first.name: first}, jobs=1, say=lambda line: None)[first.name]
    assert len(asked) == 3
    run_all({first.name: first}, jobs=1, say=lambda line: None, again=True)
    assert len(asked) == 4


def start(*arguments):
    process = FORKS.Process(target=share_slowly, args=arguments, daemon=True)
    process.start()
    return process


def wait_until(true):
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.01)


def test_two_commands_share_the_runs_and_each_waits_for_all(tmp_path):
    names = sorted(grid(tmp_path)[1].runs)
    processes = [start(tmp_path, 0.3) for _ in range(2)]
    for process in processes:
        process.join(PATIENCE)
    assert [process.exitcode for process in processes] == [0, 0]
    assert sorted(name for name, _ in began(tmp_path)) == names
    assert len({pid for _, pid in began(tmp_path)}) == 2, "both did some"


def test_what_a_killed_command_had_begun_another_takes_over(tmp_path):
    names = sorted(grid(tmp_path)[1].runs)
    first = start(tmp_path, 60)
    wait_until(lambda: began(tmp_path))
    second = start(tmp_path, 0.0)
    wait_until(lambda: len(began(tmp_path)) == 6)
    assert second.is_alive(), "the first still has a run"
    first.kill()
    second.join(PATIENCE)
    assert second.exitcode == 0
    assert sorted({name for name, _ in began(tmp_path)}) == names and len(began(tmp_path)) == 7


def start_workers(pids: Path) -> None:
    executor = processes(2)
    executor.submit(time.sleep, 600)
    pids.write_text(" ".join(map(str, executor._processes)) + "\n")
    time.sleep(600)


def test_a_killed_command_leaves_no_worker(tmp_path):
    """Also when the command is killed while a worker still imports."""
    pids = tmp_path / "pids"
    parent = FORKS.Process(target=start_workers, args=(pids,))
    parent.start()
    wait_until(lambda: pids.exists() and pids.read_text().endswith("\n"))
    parent.kill()
    parent.join()
    assert pids.read_text().split()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids.read_text().split()))
