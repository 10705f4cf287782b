"""Two runs on one folder: the second is refused before it loads or moves anything. A killed one blocks nobody."""

import dataclasses
import errno
import os
import socket
import time
from pathlib import Path

import pytest

from dept_vl.run.execute import run, run_each
from dept_vl.untrusted import folder_lock
from dept_vl.untrusted.folder_lock import FolderInUse, only_run
from tests.faults.victims import occupy, train_rank, try_to_train
from tests.forks import FORKS, free_port
from tests.tiny_runs import text_experiment, write_cola

pytestmark = pytest.mark.usefixtures("afresh")


@pytest.fixture
def config(byte_t5, tmp_path):
    write_cola(tmp_path / "data")
    return text_experiment(byte_t5, tmp_path / "data", tmp_path / "run", max_steps=2, eval_steps=0)


@pytest.fixture
def holder(tmp_path):
    """Starts a process that works in a folder; its text is how it calls itself."""
    started = []

    def hold(folder: Path) -> str:
        held = tmp_path / f"held_{len(started)}"
        process = FORKS.Process(target=occupy, args=(folder, held))
        process.start()
        started.append(process)
        until = time.monotonic() + 60
        while not (held.exists() and held.read_text()):
            assert time.monotonic() < until
            time.sleep(0.01)
        return held.read_text()

    hold.started = started
    yield hold
    for process in started:
        process.kill()
        process.join()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_run_is_refused_by_name_before_it_loads_or_moves_anything(config, holder, tmp_path, monkeypatch):
    run(config)
    before = contents(tmp_path / "run")
    who = holder(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr("dept_vl.run.execute.build", lambda *arguments: pytest.fail("loaded"))
        for again in (config, dataclasses.replace(config, resume_from_checkpoint="last")):
            with pytest.raises(FolderInUse, match=f"{tmp_path / 'run'}: wanted .*, given one in which {who} works"):
                run(again)
    assert contents(tmp_path / "run") == before and not (tmp_path / "run.1").exists()
    holder.started[0].kill()  # its child lives on
    holder.started[0].join()
    run(config)
    assert (tmp_path / "run.1").exists() and not list(tmp_path.glob(".*.running"))


def test_a_run_holds_its_folder_while_it_goes_on(config, tmp_path, monkeypatch):
    def meanwhile(*arguments, **settings):
        process = FORKS.Process(target=try_to_train, args=(config, tmp_path / "told"))
        process.start()
        process.join()
        raise KeyboardInterrupt

    monkeypatch.setattr("dept_vl.run.execute.build", meanwhile)
    with pytest.raises(KeyboardInterrupt):
        run(config)
    me = f"process {os.getpid()} on {socket.gethostname()}"
    assert f"FolderInUse: {tmp_path / 'run'}: wanted" in (told := (tmp_path / "told").read_text()) and me in told
    monkeypatch.undo()
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert run(config) is not None


def test_several_tasks_hold_the_folder_above_theirs(config, holder, tmp_path):
    several = dataclasses.replace(config, task=dataclasses.replace(config.task, name="cola,cola"))
    holder(tmp_path / "run")
    with pytest.raises(FolderInUse, match=f"{tmp_path / 'run'}: wanted"):
        list(run_each(several))
    assert not (tmp_path / "run").exists()


def test_the_processes_of_one_run_are_one_and_all_learn_of_a_refusal(config, holder, tmp_path):
    def both(name: str) -> list[str]:
        port = free_port()
        told = [tmp_path / f"{name}_{rank}" for rank in range(2)]
        started = [FORKS.Process(target=train_rank, args=(config, rank, port, told[rank])) for rank in range(2)]
        for process in started:
            process.start()
        for process in started:
            process.join(120)
            process.kill()
        return [path.read_text() if path.exists() else "hung" for path in told]

    assert both("alone") == ["finished", "finished"]
    who = holder(tmp_path / "run")
    first, second = both("refused")
    assert first == second and first.startswith("FolderInUse: ") and who in first


def test_one_folder_by_two_names_is_one(holder, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    holder(tmp_path / "run")
    with pytest.raises(FolderInUse), only_run(tmp_path / "link"):
        pass
    with only_run(tmp_path / "run_2"):
        pass


def test_a_lock_that_goes_while_it_is_opened_is_taken_anew(tmp_path, monkeypatch):
    """The holder takes its lock's name away between the other's opening and locking."""
    path, lock, calls = tmp_path / ".run.running", folder_lock.fcntl.lockf, []

    def late(file, how):
        if not calls:
            path.unlink()
        calls.append(file)
        lock(file, how)

    monkeypatch.setattr(folder_lock.fcntl, "lockf", late)
    with only_run(tmp_path / "run"):
        assert len(calls) == 2 and path.read_text() == f"process {os.getpid()} on {socket.gethostname()}"
    assert not path.exists()


def test_a_filesystem_without_locks_is_told(tmp_path, monkeypatch):
    def none(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(folder_lock.fcntl, "lockf", none)
    with pytest.warns(UserWarning, match="no lock here .No locks available.: nothing keeps a second run away"):
        with only_run(tmp_path / "run"):
            pass


def test_what_a_kill_left_before_the_config_was_written_is_no_other_file(config, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".config.yaml.17.ab.tmp").write_text("seed")
    assert run(config) is not None and not (tmp_path / "run.1").exists()
