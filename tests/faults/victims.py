"""What the fault tests kill: plain functions, run in a process that has imported everything before it is forked."""

import contextlib
import dataclasses
import os
import warnings
from pathlib import Path

import torch

from dept_vl.checkpoint.resumable import find_checkpoints
from dept_vl.config import Experiment
from dept_vl.run import run
from dept_vl.vision import FrozenClip
from dept_vl.vision.store import extract


def train(config: Experiment) -> None:
    """Goes on from the newest checkpoint where there is one, as a user's second command would."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    folder = Path(config.output_dir)
    if find_checkpoints(folder / "checkpoints"):
        config = dataclasses.replace(config, resume_from_checkpoint="last")
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        run(config)


def train_together(config: Experiment, rank: int, port: int, told: Path) -> None:
    """One of two processes of a run on the CPU; what ends it is written to `told`."""
    places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in places.items()}, MASTER_ADDR="127.0.0.1")
    os.environ.update(ACCELERATE_USE_CPU="true", OMP_NUM_THREADS="1")
    try:
        train(config)
    except OSError as error:
        told.write_text(f"{type(error).__name__}: {error}")
        os._exit(1)


def store_features(clip: Path, images: dict[str, Path], folder: Path) -> None:
    torch.set_num_threads(1)
    tower = FrozenClip.load(f"local-dir:{clip}", layer=3, pooling="none", resize="squash")
    extract(tower, images, folder, batch_size=2, shard_size=4)
