"""One linear layer, the default: CLIP-T5's visual embedding (Sung et al., VL-Adapter, CVPR 2022, arXiv:2112.06825).

    Y = X W + b,   or   Y = ((X - mean) / std) W + b

The second where `standardise` is set: mean and std of each feature over training pictures, fixed when training starts
and saved with the weights. A network without a norm at its end has features far from zero, which hide how they differ.

Weights: in_dim * d_model + d_model (linear) + d_model (norm) + num_patches * d_model (positions); 2048 -> 768 with 36
patches is 1,602,048.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from dept_vl.linear_start import linear
from dept_vl.vision.projections.contract import PROJECTIONS, Projection


@PROJECTIONS.register("linear")
class VisualProjection(Projection):
    """A visual token for each patch. The linear layer starts as PyTorch's does, the norm at one.

    standardise: see above; until `fit` has seen features they are taken as they are.
    """

    def __init__(
        self,
        in_dim: int,
        d_model: int,
        num_patches: int,
        generator: torch.Generator | None = None,
        *,
        standardise: bool = False,
        scale: float = 1.0,
    ) -> None:
        super().__init__(in_dim, d_model, num_patches)
        self.standardise = standardise
        self.linear = linear(in_dim, d_model, generator)
        if standardise:
            self.register_buffer("mean", torch.zeros(in_dim))
            self.register_buffer("std", torch.ones(in_dim))
        self.finish(num_patches, generator, scale)

    def map(self, features: Float[Tensor, "batch patch in_dim"]) -> Float[Tensor, "batch token d_model"]:
        return self.linear((features - self.mean) / self.std if self.standardise else features)

    @torch.no_grad()
    def fit(self, features: Float[Tensor, "picture patch in_dim"]) -> None:
        if self.standardise:
            features = features.float()
            self.mean.copy_(features.mean((0, 1)))
            std = features.std((0, 1), correction=0)
            # a feature that hardly varies here would drown all others where it does
            self.std.copy_(torch.where(std > 1e-4 * std.mean(), std, 1.0))
