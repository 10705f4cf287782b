"""Checkpoints from which a run goes on as if it had never stopped.

    checkpoints/step_<n>/
      adapter_model.safetensors     the trained weights
      optimizer.pt                  optimizer, schedule, and the neurons' order under progressive training
      rng_<rank>.pt                 random states of each process
      progress.json                 step, data cursor and what else the loop carries; the files with sizes and sha256

A checkpoint is written into a folder of another name and renamed when whole, and renamed before it is removed, so
what is called step_<n> was written whole; `load_checkpoint` finds later damage.
Loads use weights_only=True: nothing from a checkpoint is ever executed.
"""

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dept_vl.untrusted.json_files import parse_json
from dept_vl.untrusted.lfs_pointers import pointer_at
from dept_vl.untrusted.tensor_files import check_finite

_WEIGHTS, _OPTIMIZER, _PROGRESS = "adapter_model.safetensors", "optimizer.pt", "progress.json"
FileName = Annotated[str, msgspec.Meta(pattern=r"^(adapter_model\.safetensors|optimizer\.pt|rng_\d+\.pt)$")]


class BadCheckpoint(ValueError):
    """A checkpoint that is absent, cut short or of another run."""


class Compute(msgspec.Struct, frozen=True):
    """How a run computes, which decides how its sums are rounded. threads: of the CPU, of each process."""

    bf16: bool
    threads: Annotated[int, msgspec.Meta(ge=1)]


def save_checkpoint(
    folder: Path,
    step: int,
    *,
    weights: dict[str, Tensor],
    optimizer: dict[str, Any],
    schedule: dict[str, Any],
    progress: dict[str, Any],
    rng_states: list[dict[str, Any]],
    stages: dict[str, Any] | None = None,
) -> Path:
    """Write `folder/step_<step>`, whole or not at all. `progress` is plain JSON data, `stages` tensors and numbers.

    Raises:
        OSError: the disk is full or read-only; earlier checkpoints are untouched and no half one stays.
    """
    final, half = folder / f"step_{step}", folder / f".step_{step}.half"
    shutil.rmtree(half, ignore_errors=True)
    try:
        half.mkdir(parents=True)
        save_file({name: value.detach().cpu().contiguous() for name, value in weights.items()}, half / _WEIGHTS)
        torch.save({"optimizer": optimizer, "schedule": schedule, "stages": stages}, half / _OPTIMIZER)
        for rank, state in enumerate(rng_states):
            torch.save(state, half / f"rng_{rank}.pt")
        sizes = {path.name: path.stat().st_size for path in sorted(half.iterdir())}
        hashes = {name: _sha256(half / name) for name in sizes}
        record = {"step": step, "files": sizes, "sha256": hashes, **progress}
        (half / _PROGRESS).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        for path in half.iterdir():
            _sync(path)
        if final.exists():
            remove(final)
        os.replace(half, final)
    except OSError as error:
        shutil.rmtree(half, ignore_errors=True)
        raise OSError(error.errno, f"could not save the checkpoint {final}: {error.strerror or error}") from error
    except (RuntimeError, SafetensorError) as error:  # how torch and safetensors report a full disk
        free = shutil.disk_usage(folder).free
        shutil.rmtree(half, ignore_errors=True)
        raise OSError(f"could not save the checkpoint {final}: {error} ({free:,} bytes are left there)") from error
    return final


def load_checkpoint(
    folder: Path, rank: int = 0
) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any], dict[str, Any] | None]:
    """Weights, {"optimizer", "schedule", "stages"}, progress, and this rank's random states (None where another number
    of processes wrote the checkpoint).

    Raises:
        BadCheckpoint: naming the file, the wanted and the given.
    """
    progress = _read_progress(folder)
    for name, size in progress["files"].items():
        path = folder / name
        given = path.stat().st_size if path.is_file() else None
        if given != size:
            found = pointer_at(path) or ("no file" if given is None else f"{given:,}")
            raise BadCheckpoint(
                f"{path}: wanted {size:,} bytes, given {found}: the checkpoint is cut short; resume from an earlier one"
            )
    try:
        weights = load_file(folder / _WEIGHTS)
        states = torch.load(folder / _OPTIMIZER, weights_only=True, map_location="cpu")
        rng_file = folder / f"rng_{rank}.pt"
        rng = torch.load(rng_file, weights_only=True, map_location="cpu") if rng_file.is_file() else None
    except Exception as error:  # pickle and zip readers raise what they like on damaged bytes
        raise BadCheckpoint(f"{folder}: wanted a whole checkpoint, its files do not read ({error})") from error
    for name in progress["files"]:  # all of them, so that every process comes to the same answer
        wanted, given = progress["sha256"].get(name), _sha256(folder / name)
        if wanted != given:
            raise BadCheckpoint(
                f"{folder / name}: wanted sha256 {wanted!s:.12}, given {given:.12}: the file is damaged"
            )
    if wrong := check_finite(weights):
        raise BadCheckpoint(f"{folder / _WEIGHTS}: wanted finite weights, given {wrong}; resume from an earlier one")
    return weights, states, progress, rng


def check_checkpoint(folder: Path) -> None:
    """Raises: BadCheckpoint unless it is whole, and so is the best one that it names, which its run may end with."""
    best = _best_beside(folder, load_checkpoint(folder)[2])
    if best is None:
        return
    try:
        load_checkpoint(best)
    except BadCheckpoint as error:
        raise BadCheckpoint(f"{folder}: wanted the run's best checkpoint {best.name} beside it: {error}") from error


def read_compute(checkpoint: Path) -> Compute | None:
    """How the run of a checkpoint computed; None where its record does not say. Raises: BadCheckpoint."""
    return msgspec.convert(_read_progress(checkpoint), _Progress).compute


def find_checkpoints(folder: Path) -> list[Path]:
    """All step_<n> folders of a run, damaged or not, oldest first."""
    steps = [
        (int(match[1]), path) for path in folder.glob("step_*") if (match := re.fullmatch(r"step_(\d+)", path.name))
    ]
    return [path for _, path in sorted(steps)]


def remove_older(folder: Path, keep: int, spare: set[Path]) -> None:
    """Keep the newest `keep` checkpoints, the best ones that these name, and those of `spare`."""
    found = find_checkpoints(folder)
    named = set()
    for path in found[-keep:]:
        with contextlib.suppress(BadCheckpoint):  # a damaged one says nothing, and is no reason to stop training
            named.add(_best_beside(path, _read_progress(path)))
    for path in found[:-keep]:
        if path not in spare | named:
            remove(path)


def remove(checkpoint: Path) -> None:
    """Remove a checkpoint and what kills left of others. It is renamed first, so that a kill in the middle of removing
    leaves no half checkpoint that looks whole."""
    gone = checkpoint.with_name(f".{checkpoint.name}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    os.replace(checkpoint, gone)
    for left in checkpoint.parent.glob(".step_*.gone"):
        shutil.rmtree(left, ignore_errors=True)


def copy_checkpoint(checkpoint: Path, folder: Path) -> None:
    """Copy another run's checkpoint into `folder`, whole under its name or not at all."""
    half = folder / f".{checkpoint.name}.half"
    shutil.rmtree(half, ignore_errors=True)
    shutil.copytree(checkpoint, half)
    os.replace(half, folder / checkpoint.name)


def rng_states() -> dict[str, Any]:
    """This process's random states, in types that load without executing anything."""
    version, words, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "python": [version, list(words), gauss],
        "numpy": [torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached],
    }


def set_rng_states(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available() and states["cuda"] is not None:
        torch.cuda.set_rng_state(states["cuda"])
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, cached))


class _Best(msgspec.Struct):
    step: int


class _Progress(msgspec.Struct):
    """What a checkpoint's record must hold; the loop carries more in it. files: the bytes of each."""

    step: Annotated[int, msgspec.Meta(ge=0)]
    files: dict[FileName, int]
    sha256: dict[FileName, str]
    best: _Best | None = None
    compute: Compute | None = None


def _read_progress(folder: Path) -> dict[str, Any]:
    path = folder / _PROGRESS
    try:
        progress = parse_json(path.read_bytes())
        msgspec.convert(progress, _Progress)
        return progress
    except FileNotFoundError as error:
        raise BadCheckpoint(f"{folder}: wanted a checkpoint with {_PROGRESS}, given no such file") from error
    except OSError as error:
        raise BadCheckpoint(f"{path}: wanted a file that reads, given {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BadCheckpoint(f"{path}: wanted a checkpoint's record, given another ({error})") from error


def _best_beside(folder: Path, progress: dict[str, Any]) -> Path | None:
    best = progress.get("best")
    return folder.with_name(f"step_{best['step']}") if best and best["step"] != progress["step"] else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
