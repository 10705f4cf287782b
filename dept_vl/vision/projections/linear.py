"""One linear layer, the default: CLIP-T5's visual embedding (Sung et al., VL-Adapter, CVPR 2022, arXiv:2112.06825).

    Y = X W + b

Weights: in_dim * d_model + d_model (linear) + d_model (norm) + num_patches * d_model (positions); 2048 -> 768 with 36
patches is 1,602,048.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from dept_vl.vision.projections.contract import PROJECTIONS, Projection, linear


@PROJECTIONS.register("linear")
class VisualProjection(Projection):
    """A visual token for each patch. The linear layer starts as PyTorch's does, the norm at one."""

    def __init__(
        self,
        in_dim: int,
        d_model: int,
        num_patches: int,
        generator: torch.Generator | None = None,
        *,
        scale: float = 1.0,
    ) -> None:
        super().__init__(in_dim, d_model, num_patches)
        self.linear = linear(in_dim, d_model, generator)
        self.finish(num_patches, generator, scale)

    def map(self, features: Float[Tensor, "batch patch in_dim"]) -> Float[Tensor, "batch token d_model"]:
        return self.linear(features)
