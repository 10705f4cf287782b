"""The contract of an image tower, and what all frozen networks that are read as a grid of patches have in common.

    picture -> preprocess [channels, rows, columns] -> network, layers k [batch, c, r, c] -> pooling -> joined
            -> [batch, patch, width]

No gradient, no autocast and no batch statistics: features that are stored are those that are computed directly.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dept_vl.vision.pooling import check_joined, check_pooling, join_grids, pool_grid
from dept_vl.vision.preprocess import Preprocessing

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
BATCH_SIZE = 128
CPU_PIXELS = 8 * 224 * 224  # at most of one pass on a CPU, whose caches hold the maps of no more


class UnloadableTower(ValueError):
    """An image tower that cannot be loaded, with what was wanted and given."""


class Tower(nn.Module, ABC):
    """A frozen image tower: no gradients, always in evaluation mode, untouched by autocast.

    Attributes: preprocess, num_patches, width (of one patch, pooled and joined), grid_shape (rows and columns of the
    patches; None where they are those of several grids), batch_size (pictures of one pass when features are stored).
    """

    preprocess: Preprocessing
    num_patches: int
    width: int
    grid_shape: tuple[int, int] | None
    batch_size: int = BATCH_SIZE

    @abstractmethod
    def grid(self, pixels: Float[Tensor, "batch channels rows columns"]) -> Float[Tensor, "batch patch width"]:
        """Preprocessed pixels, on any device, to patches in row-major order, in the tower's dtype.

        Raises: ValueError: pixels of another size than `preprocess` makes.
        """

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What the features depend on, as a JSON object: library, model, weights, layers, pooling, preprocessing."""

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def train(self, mode: bool = True) -> "Tower":
        """Stays in evaluation mode whatever is asked, so that batch statistics never move."""
        return super().train(False)

    def forward(self, pixels: Float[Tensor, "batch channels rows columns"]) -> Float[Tensor, "batch patch width"]:
        return self.grid(pixels)


class FrozenTower(Tower):
    """One network of a library, read at one of its layers or at several.

    A subclass names its library in `kind` and gives the grids of layers in `maps`.
    """

    kind: str
    normalized = True
    """Whether the grids went through the network's final norm."""

    def __init__(
        self,
        tower: nn.Module,
        preprocess: Preprocessing,
        *,
        layer: int | Sequence[int],
        pooling: str,
        pool_size: int | None = None,
        joined: str = "width",
        dtype: str = "float32",
        source: dict[str, Any] | None = None,
    ) -> None:
        """`tower` is the network in fp32; `source` is merged into `identity()`. `layer` counts the network's layers,
        negative from the end; of several, each is pooled and then `joined`, see `join_grids`."""
        super().__init__()
        check_pooling(pooling, pool_size)
        check_joined(joined)
        if dtype not in DTYPES:
            raise ValueError(f"dtype: wanted one of {', '.join(DTYPES)}, given {dtype!r}")
        self.tower = tower.requires_grad_(False)
        self.preprocess = preprocess
        self.pooling, self.pool_size, self.joined = pooling, pool_size, joined
        self.train(False)
        self._source = {**(source or {}), "vision_weights_sha256": hash_tensors(tower)}
        self.layers, self.grid_shape, self.num_patches, self.width = self._measure(layer)
        self._several = len(self.layers) > 1
        self.tower.to(DTYPES[dtype])

    @abstractmethod
    def maps(
        self, pixels: Float[Tensor, "batch channels rows columns"], layers: list[int] | None
    ) -> list[Float[Tensor, "batch _width _rows _columns"]]:
        """The grids of these layers in the order of the network, or of all with None."""

    @torch.no_grad()
    def grid(self, pixels: Float[Tensor, "batch channels rows columns"]) -> Float[Tensor, "batch patch width"]:
        if tuple(pixels.shape[2:]) != self.preprocess.size:
            wanted, given = self.preprocess.size, tuple(pixels.shape[2:])
            raise ValueError(
                f"pixels: wanted {wanted[0]} x {wanted[1]}, as tower.preprocess makes them, "
                f"given {given[0]} x {given[1]}"
            )
        pixels = pixels.to(self.device, self.dtype, non_blocking=True)
        if pixels.device.type == "cpu":  # where convolutions are faster with a pixel's channels side by side
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        order = sorted(set(self.layers))
        found = dict(zip(order, self._maps(pixels, order), strict=True))
        return join_grids([self._pooled(found[layer]) for layer in self.layers], self.joined)

    def identity(self) -> dict[str, Any]:
        several = {"vision_joined": self.joined} if self._several else {}
        return {
            **self._source,
            "vision_kind": self.kind,
            "vision_feature_layer": list(self.layers) if self._several else self.layers[0],
            "vision_normalized": self.normalized,
            "vision_pooling": self.pooling,
            "vision_pool_size": self.pool_size,
            "vision_dtype": str(self.dtype).removeprefix("torch."),
            "preprocessing": self.preprocess.settings,
            **several,
        }

    def _maps(self, pixels: Tensor, layers: list[int] | None) -> list[Tensor]:
        # Stored features and features made inside an autocast region of the trainer must be the same.
        with torch.autocast(pixels.device.type, enabled=False):
            return self.maps(pixels, layers)

    def _pooled(self, grid: Tensor) -> Tensor:
        return pool_grid(grid, self.pooling, self.pool_size)

    @torch.no_grad()
    def _measure(self, layer: int | Sequence[int]) -> tuple[tuple[int, ...], tuple[int, int] | None, int, int]:
        """The layers counted from the front, rows and columns of the patches, their number and width, from one empty
        picture."""
        grids = self._maps(torch.zeros(1, 3, *self.preprocess.size, device=self.device), None)
        wanted = [layer] if isinstance(layer, int) else list(layer)
        bad = [each for each in wanted if not -len(grids) <= each < len(grids)]
        if bad or not wanted:
            given = bad[0] if bad else "none"
            raise ValueError(f"layer: wanted {-len(grids)} to {len(grids) - 1} for this tower, given {given}")
        pooled = [self._pooled(grids[each]) for each in wanted]
        joined = join_grids(pooled, self.joined)
        shape = tuple(pooled[0].shape[2:]) if joined.shape[1] == pooled[0].shape[2:].numel() else None
        return tuple(each % len(grids) for each in wanted), shape, joined.shape[1], joined.shape[2]


def hash_tensors(module: nn.Module) -> str:
    """sha256 over name, dtype, shape and bytes of every tensor, in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def without_moving_random(build: Callable[[], nn.Module]) -> nn.Module:
    """What `build` makes, always with the same random start: building draws weights, and the caller's stream must not
    move."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return build()
