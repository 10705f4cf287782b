"""A clock that jumps by a day changes what is reported and nothing else."""

import fcntl
import itertools
import json
import os
import time

import pytest

from dept_vl.run.execute import run
from dept_vl.untrusted.whole_files import remove_abandoned
from tests.tiny_runs import forget_accelerate, text_experiment, write_cola

DAY = 86_400


@pytest.mark.usefixtures("afresh")
def test_a_run_whose_clock_jumps_has_the_same_bytes_and_no_negative_durations(byte_t5, tmp_path, monkeypatch):
    write_cola(tmp_path / "data")
    config = text_experiment(byte_t5, tmp_path / "data", tmp_path / "steady", save_steps=2)
    began = time.monotonic()
    run(config)
    usual = time.monotonic() - began
    forget_accelerate()
    clock, nanoseconds, calls = time.time, time.time_ns, itertools.count()
    monkeypatch.setattr(time, "time", lambda: clock() + (DAY, 0, -DAY)[next(calls) % 3])
    monkeypatch.setattr(time, "time_ns", lambda: nanoseconds() + DAY * 10**9 * (1, 0, -1)[next(calls) % 3])
    began = time.monotonic()
    results = run(text_experiment(byte_t5, tmp_path / "data", tmp_path / "jumping", save_steps=2))
    took = time.monotonic() - began
    for name in ("adapter_model.safetensors", "predictions.jsonl", "checkpoints/step_4/optimizer.pt"):
        assert (tmp_path / "jumping" / name).read_bytes() == (tmp_path / "steady" / name).read_bytes()
    info, parts = results["run_info"], results["seconds"]
    assert 0 < sum(parts.values()) <= info["total_time"] + 0.01 and info["total_time"] <= took < usual + DAY / 2
    assert 0 < results["train_info"]["train_time"] <= parts["train"]
    logged = [json.loads(line) for line in (tmp_path / "jumping" / "metrics.jsonl").read_text().splitlines()]
    seconds = [line["seconds"] for line in logged if "seconds" in line]
    assert seconds == sorted(seconds) and seconds[0] > 0


@pytest.mark.parametrize("age", [-DAY, 0, DAY], ids=["from the future", "new", "old"])
def test_what_a_killed_writer_left_goes_and_a_live_ones_stays_whatever_the_clock_says(age, tmp_path):
    left, alive, about_to_begin = (tmp_path / f".0-4.safetensors.{pid}.ab.tmp" for pid in (1, 2, 3))
    for path in (left, alive, about_to_begin):
        path.write_bytes(b"" if path is about_to_begin else b"half")
        os.utime(path, (time.time() - age,) * 2)
    with alive.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        remove_abandoned(tmp_path)
    assert sorted(tmp_path.iterdir()) == [alive, about_to_begin]
