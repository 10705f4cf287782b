"""Two towers side by side: the features of a patch are those of both, joined along the width."""

from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from dept_vl.vision.preprocess import Preprocessing
from dept_vl.vision.tower import Tower


class PairPreprocess(Preprocessing):
    """The pixels of both towers in the channels of one tensor, the smaller ones in its upper left corner."""

    def __init__(self, first: Preprocessing, second: Preprocessing) -> None:
        self.first, self.second = first, second
        self.size = tuple(map(max, first.size, second.size))
        self.settings = first.settings

    def __call__(self, image: Image.Image) -> Float[Tensor, "channels rows columns"]:
        pixels = [self.first(image), self.second(image)]
        together = pixels[0].new_zeros(sum(each.shape[0] for each in pixels), *self.size)
        start = 0
        for each in pixels:
            channels, rows, columns = each.shape
            together[start : start + channels, :rows, :columns] = each
            start += channels
        return together


class TowerPair(Tower):
    """Two towers whose grids agree, as one. `identity()` is the first one's with the second's in it.

    Raises: ValueError for grids of other rows or columns.
    """

    def __init__(self, first: Tower, second: Tower) -> None:
        super().__init__()
        if first.grid_shape is None or first.grid_shape != second.grid_shape:
            raise ValueError(
                f"vision.second: wanted the grid of the first tower, {_shown(first)}, given {_shown(second)}: pooling "
                "and pool_size bring both to one size"
            )
        self.first, self.second = first, second
        self.preprocess = PairPreprocess(first.preprocess, second.preprocess)
        self.grid_shape, self.num_patches = first.grid_shape, first.num_patches
        self.width = first.width + second.width

    @torch.no_grad()
    def grid(self, pixels: Float[Tensor, "batch channels rows columns"]) -> Float[Tensor, "batch patch width"]:
        if tuple(pixels.shape[1:]) != (6, *self.preprocess.size):
            rows, columns = self.preprocess.size
            raise ValueError(
                f"pixels: wanted 6 x {rows} x {columns}, as tower.preprocess makes them, given "
                f"{' x '.join(map(str, pixels.shape[1:]))}"
            )
        seen = []
        for place, tower in enumerate((self.first, self.second)):
            rows, columns = tower.preprocess.size
            seen.append(tower.grid(pixels[:, 3 * place : 3 * place + 3, :rows, :columns]))
        return torch.cat(seen, dim=2)

    def identity(self) -> dict[str, Any]:
        return {**self.first.identity(), "vision_second": self.second.identity()}


def _shown(tower: Tower) -> str:
    return "several grids" if tower.grid_shape is None else " x ".join(map(str, tower.grid_shape))
