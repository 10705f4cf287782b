"""The only trained part of the vision side: one linear layer, an RMS norm and a position row per patch.

    V = c (RMSNorm(W x + b) * g + P),   RMSNorm(y) = y / sqrt(mean(y^2) + 1e-6)

W, b, g as the visual embedding of CLIP-T5 (Sung et al., VL-Adapter, CVPR 2022, arXiv:2112.06825); P
[patch, d_model] is learned here and saved with the adapter, where the original has frozen random rows. The constant c
is the scale of the word embeddings beside which visual tokens stand (the original has c = 1): word embeddings of a
trained T5 are far from 1, and a norm that starts there takes most of a short run to arrive (docs/decisions.md).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dept_vl.part import Part

EPSILON = 1e-6  # T5's layer norm
POSITION_STD = 0.02  # as CLIP's and BERT's learned positions start


class VisualProjection(Part):
    """Features of a frozen CLIP to the width of the language model, in fp32 whatever the features' dtype.

    Weights: in_dim * d_model + d_model (linear) + d_model (norm) + num_patches * d_model (positions);
    2048 -> 768 with 36 patches is 1,602,048. The linear layer starts as PyTorch's does, the norm at one.
    `scale` is c; it does not train and is saved with the weights.

    Raises:
        ValueError: a size below 1; in forward, features of another number of patches or another width.
    """

    def __init__(
        self,
        in_dim: int,
        d_model: int,
        num_patches: int,
        generator: torch.Generator | None = None,
        *,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if not 0 < scale < float("inf"):
            raise ValueError(f"VisualProjection: wanted a finite scale > 0, given {scale}")
        for name, size in (("in_dim", in_dim), ("d_model", d_model), ("num_patches", num_patches)):
            if size < 1:
                raise ValueError(f"VisualProjection: wanted {name} >= 1, given {size}")
        self.in_dim, self.token_dim, self.num_patches = in_dim, d_model, num_patches
        self.linear = nn.utils.skip_init(nn.Linear, in_dim, d_model, device=torch.get_default_device())
        self.norm_weight = nn.Parameter(torch.ones(d_model))
        self.positions = nn.Parameter(torch.empty(num_patches, d_model))
        bound = in_dim**-0.5
        nn.init.uniform_(self.linear.weight, -bound, bound, generator=generator)
        nn.init.uniform_(self.linear.bias, -bound, bound, generator=generator)
        nn.init.normal_(self.positions, std=POSITION_STD, generator=generator)
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))

    def forward(self, features: Float[Tensor, "batch patch in_dim"]) -> Float[Tensor, "batch patch d_model"]:
        if features.shape[1:] != (self.num_patches, self.in_dim):
            raise ValueError(
                f"VisualProjection: wanted {self.num_patches} patches of width {self.in_dim}, "
                f"given {features.shape[1]} of width {features.shape[2]}: "
                "were these features made by another CLIP, layer or pooling?"
            )
        with torch.autocast(features.device.type, enabled=False):  # fp32, as AdaptedModel computes it
            hidden = self.linear(features.to(self.linear.weight.dtype)).float()
        hidden = hidden * torch.rsqrt(hidden.square().mean(dim=-1, keepdim=True) + EPSILON)
        return self.scale * (hidden * self.norm_weight + self.positions)

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"projection": list(self.parameters())}
