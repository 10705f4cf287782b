"""How everything is measured: device, type, size and how long."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class NoDevice(ValueError):
    """A device that this machine does not have."""


@dataclass(frozen=True)
class Setting:
    """`seconds`: about how long the rounds of one comparison may take; there are always at least `least`.

    tiny: models of a few thousand weights, to see that a measure runs; its figures say nothing.
    large: a larger T5 too, and all eight GLUE sets, where otherwise four of the same mean length stand for them.
    lengths: how GLUE's are drawn, see lengths.py. runs: the folder of finished plans, for rows that are read off them.
    rounds: what `least` is but for tiny models.
    """

    device: torch.device
    dtype: torch.dtype = torch.float32
    seconds: float = 60.0
    tiny: bool = False
    large: bool = False
    seed: int = 0
    lengths: str = "table9"
    runs: Path = Path("runs/plans")
    rounds: int = 3

    @property
    def least(self) -> int:
        return 1 if self.tiny else self.rounds

    @property
    def t5(self) -> str:
        return "tiny" if self.tiny else "t5-small"

    def lasting(self, seconds: float) -> "Setting":
        return replace(self, seconds=seconds)

    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)


def make(device: str, dtype: str, *, threads: int | None = None, **rest: Any) -> Setting:
    """A setting, and the threads of this process: as many as it has cores unless said otherwise.

    Raises: NoDevice.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise NoDevice("--device cuda: wanted a machine with a CUDA device, given one without; use --device cpu")
    torch.set_num_threads(threads or _cores())
    torch.manual_seed(int(rest.get("seed", 0)))
    return Setting(torch.device(device), DTYPES[dtype], **rest)


def _cores() -> int:
    limit = os.environ.get("OMP_NUM_THREADS")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, int(limit)) if limit else cores
