"""Two linear layers with a GELU between them: LLaVA-1.5's connector (Liu et al., CVPR 2024, arXiv:2310.03744).

    Y = GELU(X W1 + b1) W2 + b2,   W1 [in_dim, hidden], W2 [hidden, d_model], hidden = d_model

LLaVA-1.5 ends there; the norm, scale and positions behind it are every projection's here (see `contract`), so that
visual tokens start at the scale of the word embeddings as those of the linear layer do.

Weights: (in_dim + 1) * hidden + (hidden + 1) * d_model + d_model (norm) + num_patches * d_model (positions);
2048 -> 768 with 36 patches is 2,192,640.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dept_vl.linear_start import linear
from dept_vl.registry import check_integer
from dept_vl.vision.projections.contract import PROJECTIONS, Projection


@PROJECTIONS.register("mlp")
class MlpProjection(Projection):
    """A visual token for each patch. `hidden`: width between the layers; None is d_model, as published."""

    def __init__(
        self,
        in_dim: int,
        d_model: int,
        num_patches: int,
        generator: torch.Generator | None = None,
        *,
        hidden: int | None = None,
        scale: float = 1.0,
    ) -> None:
        super().__init__(in_dim, d_model, num_patches)
        self.hidden = d_model if hidden is None else hidden
        check_integer(ValueError, "MlpProjection", "hidden", self.hidden)
        self.first = linear(in_dim, self.hidden, generator)
        self.second = linear(self.hidden, d_model, generator)
        self.finish(num_patches, generator, scale)

    def map(self, features: Float[Tensor, "batch patch in_dim"]) -> Float[Tensor, "batch token d_model"]:
        return self.second(F.gelu(self.first(features)))
