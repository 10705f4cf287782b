"""Every run exactly once, whoever does it and whoever is killed; the best cell by validation; failures told."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest

from dept_vl.sweep import BadSweep, OtherStudy, make_grid, planned_runs, run_sweep
from dept_vl.sweep import study as study_module
from dept_vl.sweep.processes import FileLock, is_gone, this_process
from tests.forks import FORKS
from tests.sweep.fake_runs import METRIC, began, config, grid, hold_lock, slow, sweep_slowly, write_run

PATIENCE = 60  # seconds that a process on a busy machine gets for its imports


def sweep(folder, run, *, of=None, base=None, **arguments):
    return run_sweep(base or config(), of or grid(), folder, run, headline=METRIC, **arguments)


@pytest.fixture(scope="module")
def start():
    """Starts a function of `fake_runs` in a process of its own; imports happen once, in the server they fork from."""

    def start(work, *arguments):
        process = FORKS.Process(target=work, args=arguments, daemon=True)
        process.start()
        return process

    return start


def finish(process) -> int:
    process.join(PATIENCE)
    return process.exitcode


def wait_until(true, patience=PATIENCE):
    until = time.monotonic() + patience
    while not true():
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.01)


def completed(folder: Path) -> list[str]:
    """The runs of the journal's completed trials."""
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "journal.log"))
    study = optuna.load_study(study_name="sweep", storage=optuna.storages.JournalStorage(backend))
    return [t.user_attrs["run"] for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE]


def names() -> list[str]:
    return [run.name for run in planned_runs(config(), grid(), Path("x"))]


def test_every_run_is_done_once_in_its_own_folder(tmp_path):
    summary = sweep(tmp_path, slow(0.0))
    assert began(tmp_path) == completed(tmp_path) == names()
    assert all((tmp_path / name / "results.json").exists() for name in names())
    assert summary == json.loads((tmp_path / "summary.json").read_text())
    assert summary["state"] == "finished" and summary["runs"] == {"planned": 6, "left": 0, "failed": 0}


def test_a_finished_sweep_runs_nothing_again(tmp_path):
    first = sweep(tmp_path, slow(0.0))
    assert sweep(tmp_path, lambda config: pytest.fail("ran again")) == first


def test_runs_get_the_values_of_their_cell_and_seed(tmp_path):
    seen = []
    run = write_run(lambda config: 0.5)
    sweep(tmp_path, lambda config: seen.append((config.optim.lr["prompt"], config.seed)) or run(config))
    assert seen == [(rate, seed) for seed in (1, 2, 3) for rate in (0.1, 0.2)]


def test_the_best_cell_is_chosen_by_validation_and_never_by_test(tmp_path):
    """The first cell is better on test, the second on validation, in the mean though not with every seed."""
    val = {(0.1, 1): 0.9, (0.1, 2): 0.3, (0.1, 3): 0.3, (0.2, 1): 0.6, (0.2, 2): 0.6, (0.2, 3): 0.6}
    run = write_run(
        lambda config: val[config.optim.lr["prompt"], config.seed],
        lambda config: 0.99 if config.optim.lr["prompt"] == 0.1 else config.seed / 10,
    )
    best = sweep(tmp_path, run)["best"]
    assert best["values"] == {"optim.lr.prompt": 0.2}
    assert [(each["seed"], each["val"], each["test"]) for each in best["runs"]] == [
        (1, 0.6, 0.1), (2, 0.6, 0.2), (3, 0.6, 0.3),
    ]  # fmt: skip
    assert best["test"]["mean"] == pytest.approx(0.2) and best["test"]["sd"] == pytest.approx(0.1)
    assert best["test"]["interval"] == pytest.approx([0.1, 0.3])


def test_where_cells_are_equal_the_first_is_best(tmp_path):
    """Also where rounding makes the second mean the greater one."""
    run = write_run(lambda config: config.seed / 10 if config.optim.lr["prompt"] == 0.1 else 0.2)
    summary = sweep(tmp_path, run)
    assert summary["cells"][0]["val"]["mean"] < summary["cells"][1]["val"]["mean"]
    assert summary["best"]["cell"] == 1


def test_another_metric_may_select_than_the_one_reported(tmp_path):
    def run(config):
        rate = config.optim.lr["prompt"]
        return {"metrics": {"val": {METRIC: 1 - rate, "other": rate}, "test": {METRIC: rate, "other": 0.0}}}

    base = config(metric_for_best_model="other")
    summary = sweep(tmp_path, run, base=base)
    assert (summary["selecting"], summary["reported"]) == ("val other", f"test {METRIC}")
    assert summary["best"]["values"] == {"optim.lr.prompt": 0.2} and summary["best"]["test"]["values"] == [0.2] * 3


def test_a_failed_run_is_told_and_the_others_go_on(tmp_path):
    score = write_run(lambda config: config.optim.lr["prompt"])

    def run(config):
        if config.optim.lr["prompt"] == 0.2 and config.seed == 2:
            raise RuntimeError("out of memory")
        return score(config)

    said = []
    summary = sweep(tmp_path, run, say=said.append)
    assert summary["state"] == "failed" and summary["runs"]["failed"] == 1
    assert summary["failed"] == [{"run": "02_prompt=0.2_seed2", "error": "RuntimeError: out of memory"}]
    assert "  failed: RuntimeError: out of memory" in said
    assert len(completed(tmp_path)) == 5
    assert summary["best"]["values"] == {"optim.lr.prompt": 0.1}, "a cell without all its runs is not compared"
    again = sweep(tmp_path, score)
    assert again["state"] == "failed", "a failed run is not tried again unasked"
    again = sweep(tmp_path, score, again=["failed"])
    assert again["state"] == "finished" and again["best"]["values"] == {"optim.lr.prompt": 0.2}
    assert sorted(completed(tmp_path)) == sorted(names())


def test_a_run_that_gives_no_validation_score_fails_in_a_grid_and_passes_alone(tmp_path):
    run = write_run(lambda config: None)
    summary = sweep(tmp_path / "grid", run)
    assert summary["runs"]["failed"] == 6 and summary["best"] is None
    assert "wanted results with metrics.val, given none (eval_steps 0 leaves out val)" in summary["failed"][0]["error"]
    alone = make_grid(config(), seeds=[1, 2])
    best = sweep(tmp_path / "alone", run, of=alone)["best"]
    assert best["val"]["mean"] is None and best["test"]["mean"] == 0.5


def test_a_finished_run_folder_is_taken_as_it_is(tmp_path):
    """As after a kill between the end of a run and its entry in the journal."""
    (tmp_path / "02_prompt=0.2_seed3").mkdir()
    scores = {"metrics": {"val": {METRIC: 0.77}, "test": {METRIC: 0.5}}}
    (tmp_path / "02_prompt=0.2_seed3" / "results.json").write_text(json.dumps(scores))
    summary = sweep(tmp_path, slow(0.0))
    assert "02_prompt=0.2_seed3" not in began(tmp_path) and len(completed(tmp_path)) == 6
    assert summary["cells"][1]["val"]["values"] == [0.1, 0.2, 0.77]


def test_a_folder_of_another_study_is_refused_and_both_sides_are_shown(tmp_path):
    sweep(tmp_path, slow(0.0))
    with pytest.raises(OtherStudy, match=r"seeds: there \[1, 2, 3\], given \[1, 2\]\. Wanted a folder of its own"):
        sweep(tmp_path, slow(0.0), of=grid((1, 2)))
    with pytest.raises(OtherStudy, match="max_steps: there 1000, given 9"):
        sweep(tmp_path, slow(0.0), base=config(max_steps=9))
    sweep(tmp_path, slow(0.0), base=config(seed=99, output_dir="elsewhere"))


def test_an_unknown_word_for_again_is_refused(tmp_path):
    with pytest.raises(BadSweep, match="again: wanted failed or elsewhere, given 'fail'. Did you mean 'failed'"):
        sweep(tmp_path, slow(0.0), again=["fail"])


def test_few_shot_runs_name_their_draws_and_the_dependence(tmp_path):
    base = config(task={"name": "cola", "k_shot": 4})
    summary = sweep(tmp_path, slow(0.0), base=base, of=make_grid(base, seeds=[1, 2]))
    assert [each["draw"] for each in summary["best"]["runs"]] == [0, 1, 2, 0, 1, 2]
    assert "not independent" in summary["best"]["note"]


def test_a_killed_process_loses_one_run_which_the_next_start_does_again(tmp_path, start):
    process = start(sweep_slowly, tmp_path, 0.3)
    wait_until(lambda: len(began(tmp_path)) == 3)
    process.kill()
    assert finish(process) == -signal.SIGKILL
    assert len(completed(tmp_path)) < 6
    summary = sweep(tmp_path, slow(0.0))
    assert summary["state"] == "finished"
    assert sorted(completed(tmp_path)) == sorted(names())
    assert len(began(tmp_path)) == 7, "the one that was killed, and no other, began twice"


def test_two_processes_share_a_study(tmp_path, start):
    processes = [start(sweep_slowly, tmp_path, 0.3), start(sweep_slowly, tmp_path, 0.3)]
    assert [finish(process) for process in processes] == [0, 0]
    assert sorted(began(tmp_path)) == sorted(completed(tmp_path)) == sorted(names())
    pids = {json.dumps(each) for each in workers(tmp_path)}
    assert len(pids) == 2, "both did some"
    assert json.loads((tmp_path / "summary.json").read_text())["state"] == "finished"


def workers(folder: Path) -> list[dict]:
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "journal.log"))
    study = optuna.load_study(study_name="sweep", storage=optuna.storages.JournalStorage(backend))
    return [trial.user_attrs["process"] for trial in study.trials]


def interrupted(folder: Path, process: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the second run as taken by `process`, the others not begun or done."""

    def stop(config):
        if config.optim.lr["prompt"] == 0.2:
            raise KeyboardInterrupt
        return slow(0.0)(config)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(study_module, "this_process", lambda: process)
        sweep(folder, stop)


@pytest.mark.parametrize("change", [{}, {"started": 1}, {"pid": 2**22 + 1}], ids=["same", "other start", "no such pid"])
def test_what_a_dead_process_had_taken_is_done_by_the_next(tmp_path, monkeypatch, change):
    interrupted(tmp_path, {**this_process(), **change}, monkeypatch)
    assert sweep(tmp_path, slow(0.0))["state"] == "finished"
    assert sorted(completed(tmp_path)) == sorted(names())


def test_what_a_living_process_does_is_left_to_it(tmp_path, monkeypatch):
    parent = os.getppid()
    living = {"host": socket.gethostname(), "pid": parent, "started": None}
    interrupted(tmp_path, living, monkeypatch)
    summary = sweep(tmp_path, slow(0.0))
    assert summary["state"] == "unfinished" and summary["best"] is None
    assert summary["left"] == [{"run": "02_prompt=0.2_seed1", "state": "running", "process": living}]
    text = (tmp_path / "summary.md").read_text()
    assert f"- running: `02_prompt=0.2_seed1` on {socket.gethostname()}, process {parent}" in text
    assert "No best cell yet: 1 of 6 runs are left." in text


def test_a_living_process_does_at_its_end_what_another_left_that_died_meanwhile(tmp_path, monkeypatch):
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as other:
        process = {**this_process(), "pid": other.pid, "started": study_started(other.pid)}
        interrupted(tmp_path, process, monkeypatch)

        def run(config):
            other.kill()
            other.wait()
            return slow(0.0)(config)

        assert sweep(tmp_path, run)["state"] == "finished"
    assert sorted(completed(tmp_path)) == sorted(names())


def test_another_host_counts_as_alive_until_the_user_says_otherwise(tmp_path, monkeypatch):
    interrupted(tmp_path, {"host": "elsewhere.example", "pid": 1, "started": 1}, monkeypatch)
    assert sweep(tmp_path, slow(0.0))["runs"]["left"] == 1
    assert sweep(tmp_path, slow(0.0), again=["elsewhere"])["state"] == "finished"
    assert sorted(completed(tmp_path)) == sorted(names())


def test_a_study_that_was_only_half_entered_is_entered_to_the_end(tmp_path, monkeypatch):
    entered = []

    def enter(queue, run, original=study_module._Queue._enter):
        if len(entered) == 2:
            raise KeyboardInterrupt
        entered.append(run.name)
        original(queue, run)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(study_module._Queue, "_enter", enter)
        sweep(tmp_path, slow(0.0))
    sweep(tmp_path, slow(0.0))
    assert sorted(began(tmp_path)) == sorted(completed(tmp_path)) == sorted(names())


def test_a_dead_child_that_nobody_has_asked_after_is_gone():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    process = {**this_process(), "pid": child.pid}
    process["started"] = study_started(child.pid)
    assert not is_gone(process)
    child.kill()
    wait_until(lambda: is_gone(process))
    child.wait()
    assert is_gone(process)


def study_started(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def test_a_lock_ends_with_the_process_that_holds_it(tmp_path, start):
    holder = start(hold_lock, tmp_path / "lock", tmp_path / "held")
    wait_until((tmp_path / "held").exists)
    holder.kill()
    with FileLock(tmp_path / "lock"):
        assert finish(holder) == -signal.SIGKILL


def test_a_run_that_a_kill_cut_off_goes_on_from_its_last_checkpoint(tmp_path):
    seen = []

    def run(config):
        seen.append(config.resume_from_checkpoint)
        return write_run(lambda _: 0.5)(config)

    first = planned_runs(config(), grid(), tmp_path)[0]
    (tmp_path / first.name / "checkpoints" / "step_4").mkdir(parents=True)
    sweep(tmp_path, run)
    assert seen == ["last"] + [None] * 5
