"""Count weights, with the denominators of their shares; measure memory; describe machine, packages and commit."""

import contextlib
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dept_vl.model import Batch, Network

PACKAGES = (
    "dept_vl", "torch", "transformers", "open_clip_torch", "accelerate", "tokenizers", "peft", "numpy", "pillow",
)  # fmt: skip


def count_weights(network: Network, clip: int = 0) -> dict[str, Any]:
    """Trained weights by group, and their share of two totals, as fractions. `backbone` are those that stay frozen.

    `total` follows CLIP-T5's tables (VL-Adapter, LST): language model + projection + adapter, CLIP excluded, since
    its features are made once. `total_with_clip` adds the image tower's weights, whose number is `clip`. Tied weights
    count once.
    """
    groups = {name: sum(map(_numel, group)) for name, group in network.param_groups().items()}
    trained = sum(groups.values())
    frozen = sum(_numel(weight) for weight in network.backbone.parameters() if not weight.requires_grad)
    total = frozen + trained
    return {
        "trained": trained,
        "by_group": groups,
        "backbone": frozen,
        "clip": clip,
        "total": total,
        "total_with_clip": total + clip,
        "share": trained / total,
        "share_with_clip": trained / (total + clip),
        "adapter_share": (trained - groups.get("projection", 0)) / total,
    }


def _numel(weight: Tensor) -> int:
    return getattr(weight, "ds_numel", weight.numel())  # of the whole weight, where ZeRO-3 shards it


def peak_memory(device: torch.device) -> int:
    """Bytes: the greatest amount of GPU memory allocated so far, or this process's greatest resident size.

    Raises: OSError on Windows, for the latter.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError as error:
        raise OSError(f"peak memory of a process: wanted Linux or macOS, given {platform.system()}") from error
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def kept_bytes(forward: Callable[[], Tensor], weights: Iterable[Tensor]) -> int:
    """Bytes that `forward` keeps for its backward pass, each storage once, without those of `weights`."""
    excluded = {each.untyped_storage().data_ptr() for each in weights}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in excluded:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = forward()
    del loss
    return sum(kept.values())


def step_bytes(network: Network, batch: Batch) -> int:
    """What the forward pass of a training step keeps for the backward pass, weights left out."""
    network.train()
    return kept_bytes(lambda: network(batch).mean(), network.parameters())


def packages() -> dict[str, str]:
    """Versions of the packages that numbers depend on; absent ones are left out."""
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[f"{name}-version"] = version(name)
    return found


def machine(device: torch.device, num_processes: int = 1) -> dict[str, Any]:
    system = platform.uname()
    return {
        "system": system.system,
        "release": system.release,
        "machine": system.machine,
        "processor": system.processor,
        "python": platform.python_version(),
        "accelerator": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "num_processes": num_processes,
        "num_threads": torch.get_num_threads(),
    }


def commit() -> str | None:
    """The commit of the checkout that the package runs from, with "+" when files differ; None outside one."""
    root = Path(__file__).parent.parent

    def git(*words: str) -> str:
        command, environment = ["git", "-C", root, *words], {**os.environ, "LC_ALL": "C.UTF-8"}
        done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
