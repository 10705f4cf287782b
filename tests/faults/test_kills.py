"""SIGKILL at random moments: nothing is lost but the steps since the last checkpoint, no half file is taken for whole,
and what comes out in the end has the bytes of a run that nobody killed.

DEPT_VL_KILLS is how many of each; `make test-slow` takes 50 of training and 20 of the others.
"""

import csv
import dataclasses
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dept_vl.saved import BadAdapterFolder, read_adapter
from dept_vl.train import newest_checkpoint
from dept_vl.train.resumable import find_checkpoints, load_checkpoint
from dept_vl.vision.features import FeatureStore
from tests.faults.victims import (
    do_grid,
    store_features,
    train,
    write_numbered_adapter,
    write_numbered_checkpoint,
    write_on,
    write_until,
)
from tests.forks import FORKS
from tests.tiny_runs import text_experiment, write_cola

KILLS = os.environ.get("DEPT_VL_KILLS")
STEPS, EVERY = 40, 4


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


def kill_at(line: int, log: tuple[Path, str], seconds: float, victim: Callable, *arguments: object) -> bool:
    """As `kill_after`, so many seconds after the log (a folder, and its files in it) has that line, however busy the
    machine is."""
    process = FORKS.Process(target=victim, args=arguments)
    process.start()
    while process.is_alive() and lines(*log) < line:
        time.sleep(0.002)
    process.join(seconds)
    alive = process.is_alive()
    process.kill()
    process.join()
    assert alive or process.exitcode == 0
    return alive


def lines(folder: Path, files: str) -> int:
    return sum(path.read_text().count("\n") for path in folder.glob(files))


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
    (wanted,) = [FeatureStore.open(path.parent) for path in (tmp_path / "whole").glob("*/store.json")]
    draw, killed = random.Random(1), 0
    for number in range(kills):
        folder = tmp_path / f"store_{number}"
        killed += kill_after(draw.uniform(0.3, 1.0) * usual, store_features, *arguments, folder)
        seconds_of(store_features, *arguments, folder)
        left = (folder / wanted.folder.name).iterdir()  # a writer killed before its first byte leaves an empty file
        files = {path.name: path.read_bytes() for path in left if path.name[0] != "." or path.stat().st_size}
        assert files == {path.name: path.read_bytes() for path in wanted.folder.iterdir()}
    assert killed >= kills // 4


@pytest.mark.parametrize("kills", times(20))
def test_a_plan_that_is_killed_anywhere_ends_with_the_same_table(kills, byte_t5, tmp_path):
    write_cola(tmp_path / "data")
    config = text_experiment(
        byte_t5, tmp_path / "data", tmp_path / "x", max_steps=16, save_steps=4, eval_steps=8, seed=1
    )
    rates = [0.05, 0.5]
    seconds_of(do_grid, config, rates, tmp_path / "whole")
    wanted = table_of(tmp_path / "whole")
    weights = {path.parent.name: path.read_bytes() for path in (tmp_path / "whole").glob("runs/*/adapter_model.*")}
    assert len(wanted) == 2 and len(weights) == 2
    logged = lines(tmp_path / "whole", "runs/*/metrics.jsonl")
    draw, killed, resumed = random.Random(2), 0, 0
    for number in range(kills):
        root = tmp_path / f"plan_{number}"
        log = (root, "runs/*/metrics.jsonl")
        killed += kill_at(draw.randint(0, logged), log, draw.uniform(0, 0.1), do_grid, config, rates, root)
        finished = {path: path.read_bytes() for path in root.glob("runs/*/results.json")}
        resumed += bool(finished)
        seconds_of(do_grid, config, rates, root)
        assert table_of(root) == wanted
        assert {name: (root / "runs" / name / "adapter_model.safetensors").read_bytes() for name in weights} == weights
        assert {path: path.read_bytes() for path in finished} == finished  # each tells its time: none is done again
    assert killed >= kills // 2 and resumed >= kills // 5


def table_of(root: Path) -> list[dict[str, str]]:
    """But for the seconds."""
    with (root / "table.csv").open() as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def number_of(folder: Path) -> int | None:
    """Of an adapter of one piece; None where it is refused."""
    try:
        saved = read_adapter(folder)
    except BadAdapterFolder:
        assert not (folder / "adapter_config.json").exists()  # so PEFT, which knows no hash, reads no mixture either
        return None
    numbers = {float(saved.config["revision"]), *saved.adapter.fold().prompt.div(2).sqrt().unique().tolist()}
    assert len(numbers) == 1, f"files of several adapters: {numbers}"
    return int(numbers.pop())


def newest_step(folder: Path) -> int | None:
    """Of whole checkpoints, whose files all say the same step."""
    for checkpoint in find_checkpoints(folder / "checkpoints"):
        weights, states, progress, _ = load_checkpoint(checkpoint)
        step = int(checkpoint.name.removeprefix("step_"))
        assert {*weights["prompt"].unique().tolist(), states["optimizer"]["state"], progress["step"]} == {step}
    return progress["step"] if newest_checkpoint(folder) == checkpoint else None


SAVED = {"adapter": (write_numbered_adapter, number_of), "checkpoint": (write_numbered_checkpoint, newest_step)}


@pytest.mark.parametrize("kills", times(20))
@pytest.mark.parametrize("what", SAVED)
def test_saving_that_is_killed_anywhere_leaves_the_older_or_the_newer(what, kills, tmp_path):
    """Or, of an adapter, nothing that loads, in the moment in which one takes the other's place."""
    write, read = SAVED[what]
    draw = random.Random(3)
    for number in range(kills):
        folder, noted = tmp_path / f"saved_{number}", (tmp_path, f"noted_{number}")
        assert kill_at(draw.randint(1, 6), noted, draw.uniform(0, 0.1), write_on, write, folder, tmp_path / noted[1])
        last, given = lines(*noted), read(folder)
        assert given in (last, last + 1) or (what == "adapter" and given is None)
        write(folder, last + 2)
        assert read(folder) == last + 2


@pytest.mark.parametrize("what", SAVED)
def test_saving_that_is_killed_between_any_two_calls_leaves_the_older_or_the_newer(what, tmp_path):
    write, read = SAVED[what]
    found = []
    for calls in range(1, 40):
        folder = tmp_path / f"at_{calls}"
        for number in (1, 2):
            write(folder, number)
        process = FORKS.Process(target=write_until, args=(calls, write, folder, 3))
        process.start()
        process.join()
        found.append(read(folder))
        if process.exitcode == 0:
            break
        write(folder, 4)
        assert read(folder) == 4
    assert process.exitcode == 0 and len(found) > 5
    allowed = [2] * found.count(2) + [None] * found.count(None) + [3] * found.count(3)
    assert found == allowed and {2, 3} <= set(found) and (what == "adapter" or None not in found)
