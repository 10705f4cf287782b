"""SIGKILL at random moments: nothing is lost but the steps since the last checkpoint, no half file is taken for whole,
and what comes out in the end has the bytes of a run that nobody killed.

DEPT_VL_KILLS is how many of each; `make test-slow` takes 50 and 20.
"""

import dataclasses
import multiprocessing
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dept_vl.checkpoint.resumable import find_checkpoints, load_checkpoint
from dept_vl.vision.features import FeatureStore
from tests.faults.victims import store_features, train
from tests.tiny_runs import text_experiment, write_cola

KILLS = os.environ.get("DEPT_VL_KILLS")
STEPS, EVERY = 60, 4
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.faults.victims"])


def times(many: int) -> list:
    """A few in the suite, all of them in the slow one."""
    return [3, pytest.param(int(KILLS or many), marks=pytest.mark.slow)]


def seconds_of(victim: Callable, *arguments: object) -> float:
    """How long it takes alone, to its end."""
    began = time.monotonic()
    process = FORKS.Process(target=victim, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - began


def kill_after(seconds: float, victim: Callable, *arguments: object) -> bool:
    """Whether it was still at work when it was killed."""
    process = FORKS.Process(target=victim, args=arguments)
    process.start()
    process.join(seconds)
    alive = process.is_alive()
    process.kill()
    process.join()
    assert alive or process.exitcode == 0
    return alive


@pytest.mark.parametrize("kills", times(50))
def test_a_training_run_that_is_killed_anywhere_ends_with_the_same_bytes(kills, byte_t5, tmp_path):
    write_cola(tmp_path / "data")
    whole = text_experiment(byte_t5, tmp_path / "data", tmp_path / "whole")
    whole = dataclasses.replace(whole, max_steps=STEPS, save_steps=EVERY, eval_steps=10)
    seconds_of(train, whole)  # the first one forks the server and warms the disk's cache
    wanted = (tmp_path / "whole" / "adapter_model.safetensors").read_bytes()
    usual = seconds_of(train, dataclasses.replace(whole, output_dir=str(tmp_path / "timed")))
    draw, killed, resumed = random.Random(0), 0, 0
    for number in range(kills):
        config = dataclasses.replace(whole, output_dir=str(tmp_path / f"run_{number}"))
        killed += kill_after(draw.uniform(0.2, 1.0) * usual, train, config)
        kept = find_checkpoints(Path(config.output_dir) / "checkpoints")
        for checkpoint in kept:
            load_checkpoint(checkpoint)  # what is called a checkpoint is a whole one
        before = max((int(path.name.removeprefix("step_")) for path in kept), default=0)
        logged = Path(config.output_dir) / "metrics.jsonl"
        reached = logged.read_text().count('"loss"') if logged.exists() else 0
        assert reached - before <= EVERY
        resumed += bool(kept)
        seconds_of(train, config)
        assert (Path(config.output_dir) / "adapter_model.safetensors").read_bytes() == wanted
    assert killed >= kills // 4 and resumed >= kills // 5  # or the moments were badly chosen


@pytest.mark.parametrize("kills", times(20))
def test_an_extraction_that_is_killed_anywhere_ends_with_the_same_store(kills, place, tmp_path):
    images = {path.name: path for path in sorted((place / "shapes").rglob("*.jpg"))}
    arguments = (place / "clip", images)
    seconds_of(store_features, *arguments, tmp_path / "whole")
    usual = seconds_of(store_features, *arguments, tmp_path / "timed")
    (wanted,) = [FeatureStore.open(path.parent) for path in (tmp_path / "whole").glob("*/manifest.json")]
    draw, killed = random.Random(1), 0
    for number in range(kills):
        folder = tmp_path / f"store_{number}"
        killed += kill_after(draw.uniform(0.3, 1.0) * usual, store_features, *arguments, folder)
        seconds_of(store_features, *arguments, folder)
        files = {path.name: path.read_bytes() for path in (folder / wanted.folder.name).iterdir()}
        assert files == {path.name: path.read_bytes() for path in wanted.folder.iterdir()}
    assert killed >= kills // 4
