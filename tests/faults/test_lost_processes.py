"""A process of a run that dies ends the run within a minute, with a message that names it; the run then resumes and
ends with the bytes of one in which nobody died."""

import dataclasses
import socket
import time

import pytest
import torch

from dept_vl.run.execute import write_config
from dept_vl.run.processes import LostProcess, together
from dept_vl.train.resumable import find_checkpoints, load_checkpoint
from tests.faults.launches import Launched, wait_for_steps
from tests.faults.victims import train_together
from tests.forks import FORKS, free_port
from tests.tiny_runs import text_experiment, write_cola

ADAPTER = "adapter_model.safetensors"


@pytest.fixture
def config(byte_t5, tmp_path):
    root = write_cola(tmp_path / "data")
    sizes = {"max_steps": 40, "save_steps": 4, "eval_steps": 20, "ddp_timeout": 30}
    return text_experiment(byte_t5, root, tmp_path / "whole", backbone={"dropout": True}, **sizes)


def fork_two(config, folder):
    """Two processes of a run into `folder`, and the files in which they tell what ended them."""
    config, port = dataclasses.replace(config, output_dir=str(folder)), free_port()
    told = [folder.with_name(f"{folder.name}_told_{rank}") for rank in range(2)]
    processes = [FORKS.Process(target=train_together, args=(config, rank, port, told[rank])) for rank in range(2)]
    for process in processes:
        process.start()
    return processes, told


def finish_two(config, folder):
    processes, told = fork_two(config, folder)
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0], [each.read_text() for each in told if each.exists()]
    return (folder / ADAPTER).read_bytes()


@pytest.mark.parametrize("victim", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_the_other_process_tells_at_once_and_the_run_resumes_to_the_same_bytes(victim, config, tmp_path):
    wanted = finish_two(config, tmp_path / "whole")
    folder = tmp_path / "killed"
    processes, told = fork_two(config, folder)
    log, deadline = folder / "metrics.jsonl", time.monotonic() + 60
    while not log.exists() or log.read_text().count('"loss"') < 6:
        assert time.monotonic() < deadline and all(process.is_alive() for process in processes)
        time.sleep(0.002)
    processes[victim].kill()
    began = time.monotonic()
    for process in processes:
        process.join(60)
    assert time.monotonic() - began < 25 and processes[1 - victim].exitcode == 1
    message = told[1 - victim].read_text()
    assert message.startswith(f"LostProcess: rank {1 - victim} of 2 processes, on {socket.gethostname()}: another ")
    assert "--resume_from_checkpoint last" in message and "\n" not in message
    kept = find_checkpoints(folder / "checkpoints")
    for checkpoint in kept:
        load_checkpoint(checkpoint)
    assert kept and not (folder / ADAPTER).exists()
    assert finish_two(config, folder) == wanted


@pytest.mark.parametrize("error", [ValueError("a"), RuntimeError("CUDA error: out of memory")])
def test_other_errors_stay_what_they_are(error, config):
    with pytest.raises(type(error)) as caught, together(config):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            RuntimeError(
                "[/build/third_party/gloo/gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:11498: Connection "
                "reset by peer. This is typically caused by a remote worker hanging"
            ),
            "(Read error [127.0.0.1]:11498: Connection reset by peer)",
        ),
        (torch.distributed.DistBackendError("NCCL timeout\nat line 3"), "(NCCL timeout)"),
    ],
)
def test_what_a_backend_says_is_told_in_a_line(error, reason, config, monkeypatch):
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "8")
    with pytest.raises(LostProcess) as caught, together(config):
        raise error
    assert str(caught.value).startswith("rank 3 of 8 processes, on ") and "for 30 s" in str(caught.value)
    assert reason in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_the_launcher_names_the_process_that_died(victim, config, tmp_path):
    config, launches = dataclasses.replace(config, max_steps=300, save_steps=20, eval_steps=100), []

    def launch(name, *words):
        write_config(config, tmp_path)
        words = ["--main_process_port", free_port(), "--", "--config", tmp_path / "config.yaml", *words]
        words += ["--output_dir", tmp_path / name]
        launches.append(Launched("train_text.py", words, tmp_path / f"said_{len(launches)}"))
        return launches[-1]

    try:
        whole = launch("whole")
        assert whole.end() == 0, whole.said()
        killed = launch("killed")
        wait_for_steps(tmp_path / "killed", 75, [killed])
        began = time.monotonic()
        killed.kill(victim)
        assert killed.end() == 1 and time.monotonic() - began < 60
        cause = killed.said().partition("Root Cause")[2]
        assert f"rank      : {victim} " in cause and "(SIGKILL)" in cause
        resumed = launch("killed", "--resume_from_checkpoint", "last")
        assert resumed.end() == 0, resumed.said()
    finally:
        for each in launches:
            each.close()
    assert (tmp_path / "killed" / ADAPTER).read_bytes() == (tmp_path / "whole" / ADAPTER).read_bytes()
