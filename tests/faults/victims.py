"""What the fault tests kill: plain functions, run in a process that has imported everything before it is forked."""

import contextlib
import dataclasses
import itertools
import os
import signal
import socket
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from dept_vl.adapters import build_adapter
from dept_vl.config import Experiment
from dept_vl.plans.execute import How, do, write_table
from dept_vl.plans.table import read_table
from dept_vl.run import charts
from dept_vl.run.execute import run
from dept_vl.saved import ModelFacts, save_adapter
from dept_vl.train.resumable import find_checkpoints, remove_older, rng_states, save_checkpoint
from dept_vl.untrusted.folder_lock import only_run
from dept_vl.vision import FrozenClip
from dept_vl.vision.store import extract
from tests.forks import become
from tests.plans.fake_runs import grid_of

BACKBONE = {"base_model_name_or_path": "t5", "revision": "main", "backbone_sha256": "a" * 64}


@contextlib.contextmanager
def alone_and_silent():
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    charts.draw_run = lambda results, log: []  # they take longer than these runs
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        yield


def train(config: Experiment) -> None:
    """Goes on from the newest checkpoint where there is one, as a user's second command would."""
    if find_checkpoints(Path(config.output_dir) / "checkpoints"):
        config = dataclasses.replace(config, resume_from_checkpoint="last")
    with alone_and_silent():
        run(config)


def train_until_renamed(config: Experiment, name: str) -> None:
    """Killed before anything gets this name."""
    rename = os.replace

    def replace(source, target):
        if Path(target).name == name:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(source, target)

    os.replace = replace
    train(config)


def train_together(config: Experiment, rank: int, port: int, told: Path) -> None:
    """Goes on where there is something to go on from; what ends it is written to `told`."""
    become(rank, port)
    try:
        train(config)
    except OSError as error:
        told.write_text(f"{type(error).__name__}: {error}")
        os._exit(1)


def train_rank(config: Experiment, rank: int, port: int, told: Path) -> None:
    """Writes how it ended."""
    become(rank, port)
    try_to_train(config, told)


def try_to_train(config: Experiment, told: Path) -> None:
    os.environ["ACCELERATE_USE_CPU"] = "true"
    with alone_and_silent():
        try:
            run(config)
            ended = "finished"
        except (ValueError, OSError) as error:
            ended = f"{type(error).__name__}: {error}"
    told.write_text(ended)


def store_features(clip: Path, images: dict[str, Path], folder: Path) -> None:
    torch.set_num_threads(1)
    tower = FrozenClip.load(f"local-dir:{clip}", layer=3, pooling="none", resize="squash")
    extract(tower, images, folder, batch_size=2, shard_size=4)


def do_grid(config: Experiment, rates: list[float], root: Path) -> dict[str, str]:
    """A plan of these rates of the prompt; the reasons of runs that failed."""
    with alone_and_silent():
        plan, schedule = grid_of(config, root, optim__lr__prompt=rates)
        failed = do([plan], schedule, How(root, lambda line: None))
        if not failed:
            write_table(read_table(plan, schedule, root), root, failed)
        return failed


def write_numbered_adapter(folder: Path, number: int) -> None:
    """Its weights and its config both say the number, and any two of these are equally large."""
    adapter = build_adapter("dpt", torch.zeros(3, 8), {"num_virtual_tokens": 3, "r": 2})
    with torch.no_grad():
        for weight in adapter.parameters():
            weight.fill_(number)
    identity = {**BACKBONE, "revision": str(number)}
    save_adapter(folder, {"adapter": adapter}, backbone_identity=identity, card=ModelFacts(f"number {number}"))


def write_numbered_checkpoint(folder: Path, number: int) -> None:
    save_checkpoint(
        folder / "checkpoints", number, weights={"prompt": torch.full((3, 8), float(number))},
        optimizer={"state": number}, schedule={}, progress={"best": None}, rng_states=[rng_states()],
    )  # fmt: skip
    remove_older(folder / "checkpoints", 2, set())


def write_on(write: Callable[[Path, int], None], folder: Path, noted: Path) -> None:
    """Number after number, a line for each once it is written, until somebody puts an end to it."""
    torch.set_num_threads(1)
    for number in itertools.count(1):
        write(folder, number)
        with noted.open("a") as file:
            file.write(f"{number}\n")


def write_until(calls: int, write: Callable[[Path, int], None], folder: Path, number: int) -> None:
    """Killed before the `calls`-th time that it synchronises, renames or deletes something."""
    torch.set_num_threads(1)
    left = itertools.count(calls, -1)

    def counted(call: Callable) -> Callable:
        def either(*arguments, **keywords):
            if next(left) == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **keywords)

        return either

    os.fsync, os.replace, os.unlink = counted(os.fsync), counted(os.replace), counted(os.unlink)
    write(folder, number)


def occupy(folder: Path, held: Path) -> None:
    """Works in a run folder, and so does a child of its own that outlives it."""
    with only_run(folder):
        if os.fork():
            held.write_text(f"process {os.getpid()} on {socket.gethostname()}")
        time.sleep(60)
