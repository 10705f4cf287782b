"""Image files to features, batch by batch: decoded by worker processes, run through the frozen tower."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dept_vl.untrusted.images import UnreadableImage, open_image
from dept_vl.vision.preprocess import Preprocessing
from dept_vl.vision.tower import Tower

Reasons = dict[str, str]  # key of an unreadable image to what is wrong with it


class UnstorableFeatures(ValueError):
    """Features that the stored dtype cannot hold."""


def run_tower(
    tower: Tower,
    files: list[tuple[str, Path]],
    batches: Iterable[list[int]],
    num_workers: int,
    dtype: torch.dtype,
) -> Iterator[tuple[list[str], Tensor, Reasons]]:
    """Keys and features of each batch's readable images, and the reasons of the others. `batches` has places in `files`
    and is asked for more only as the work goes on."""
    loader = DataLoader(
        _Pictures([path for _, path in files], tower.preprocess),
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=_collate,
        pin_memory=tower.device.type == "cuda",
        generator=torch.Generator(),  # otherwise it draws from the global stream: a found store would not
    )
    for indices, pixels, reasons in loader:
        keys = [files[index][0] for index in indices]
        features = torch.empty(0, tower.num_patches, tower.width, dtype=dtype)
        if keys:
            features = tower.grid(pixels).to("cpu", dtype)
            sound = features.isfinite().flatten(1).all(dim=1)
            if not sound.all():
                key = keys[int(sound.int().argmin())]
                hint = "; dtype='bfloat16' has the range of fp32" if dtype is torch.float16 else ""
                raise UnstorableFeatures(
                    f"features of {key!r}: wanted finite numbers of {dtype}, given infinite ones or NaN{hint}"
                )
        yield keys, features, {files[index][0]: reason for index, reason in reasons.items()}


class _Pictures(Dataset[Any]):
    """Index to its pixels, or to the reason why there are none."""

    def __init__(self, paths: list[Path], preprocess: Preprocessing) -> None:
        self.paths, self.preprocess = paths, preprocess

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[int, Tensor | str]:
        try:
            return index, self.preprocess(open_image(self.paths[index]))
        except UnreadableImage as error:
            return index, f"{error.path}: {error.reason}"
        except ValueError as error:
            return index, f"{self.paths[index]}: {error}"


def _collate(items: list[tuple[int, Tensor | str]]) -> tuple[list[int], Tensor | None, dict[int, str]]:
    readable = [(index, given) for index, given in items if isinstance(given, Tensor)]
    pixels = torch.stack([given for _, given in readable]) if readable else None
    reasons = {index: given for index, given in items if isinstance(given, str)}
    return [index for index, _ in readable], pixels, reasons
