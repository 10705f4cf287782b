"""factor x factor patches as one token, through one linear layer: nanoVLM's and SmolVLM's connector (Marafioti et al.,
2025, arXiv:2504.05299).

    Y = S W + b,   S [patch / factor^2, factor^2 in_dim]

A row of S holds the patches of one square, row by row. Fewer visual tokens make every step of the language model
cheaper; the linear layer grows by what the tokens lose.

Weights: factor^2 * in_dim * d_model + d_model (linear) + d_model (norm) + num_patches / factor^2 * d_model (positions);
2048 -> 768 with 36 patches and factor 2 is 6,299,904.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from dept_vl.linear_start import linear
from dept_vl.vision.projections.contract import PROJECTIONS, Projection, grid_side


@PROJECTIONS.register("pixel_shuffle")
class PixelShuffleProjection(Projection):
    """A visual token for each square of patches. `factor`: its side; it divides that of the grid, which is square."""

    def __init__(
        self,
        in_dim: int,
        d_model: int,
        num_patches: int,
        generator: torch.Generator | None = None,
        *,
        factor: int = 2,
        scale: float = 1.0,
    ) -> None:
        super().__init__(in_dim, d_model, num_patches)
        self.factor, self._side = factor, grid_side("PixelShuffleProjection", num_patches, factor)
        self.linear = linear(factor**2 * in_dim, d_model, generator)
        self.finish(num_patches // factor**2, generator, scale)

    def map(self, features: Float[Tensor, "batch patch in_dim"]) -> Float[Tensor, "batch token d_model"]:
        squares = self._side // self.factor
        cells = features.unflatten(1, (squares, self.factor, squares, self.factor))
        cells = cells.transpose(2, 3)  # [batch, squares, squares, factor, factor, in_dim]
        return self.linear(cells.flatten(3).flatten(1, 2))
