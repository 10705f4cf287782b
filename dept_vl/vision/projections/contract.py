"""What the projections have in common: visual tokens that start at the scale of the word embeddings.

    V = c (RMSNorm(Y) * g + P),   RMSNorm(y) = y / sqrt(mean(y^2) + 1e-6),   Y = map(X) [token, d_model]

with X [patch, in_dim] the features of a picture, and `map` a projection's own. g and P [token, d_model] are as in the
visual embedding of CLIP-T5 (Sung et al., VL-Adapter, CVPR 2022, arXiv:2112.06825), but P is learned here and saved with
the adapter, where the original has frozen random rows. The constant c is the scale of the word embeddings beside which
visual tokens stand (the original has c = 1): word embeddings of a trained T5 are far from 1, and a norm that starts
there takes most of a short run to arrive (docs/decisions.md). Every projection has them, so that rates mean the same.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dept_vl.part import Part, full_precision
from dept_vl.registry import BadArguments, Registry, arguments_of, check_integer, wanted_one_of

EPSILON = 1e-6  # T5's layer norm
POSITION_STD = 0.02  # as CLIP's and BERT's learned positions start


class Projection(Part):
    """Features of a frozen tower to visual tokens of the language model's width, in fp32 whatever the features' dtype.

    Attributes: in_dim and num_patches of the features, token_dim and num_tokens of what comes out, scale (c, which does
    not train and is saved with the weights).

    A subclass makes the weights of its map, then calls `finish`.

    Raises:
        ValueError: a size below 1; in forward, features of another number of patches or another width.
    """

    def __init__(self, in_dim: int, d_model: int, num_patches: int) -> None:
        super().__init__()
        for name, size in (("in_dim", in_dim), ("d_model", d_model), ("num_patches", num_patches)):
            check_integer(ValueError, type(self).__name__, name, size)
        self.in_dim, self.token_dim, self.num_patches = in_dim, d_model, num_patches

    def finish(self, num_tokens: int, generator: torch.Generator | None, scale: float) -> None:
        """Add the norm, the position rows and the scale. Raises: ValueError for a scale that is none."""
        if not 0 < scale < float("inf"):
            raise ValueError(f"{type(self).__name__}: wanted a finite scale > 0, given {scale}")
        self.num_tokens = num_tokens
        self.norm_weight = nn.Parameter(torch.ones(self.token_dim))
        self.positions = nn.Parameter(torch.empty(num_tokens, self.token_dim))
        nn.init.normal_(self.positions, std=POSITION_STD, generator=generator)
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))

    @abstractmethod
    def map(self, features: Float[Tensor, "batch patch in_dim"]) -> Float[Tensor, "batch token d_model"]:
        """The projection's own equation, outside of any autocast region."""

    def fit(self, features: Float[Tensor, "picture patch in_dim"]) -> None:
        """Look at features of training pictures before training starts. Most projections learn nothing from them."""

    def config(self) -> dict[str, Any]:
        """The arguments of the constructor beyond the sizes and the scale, as `args` of a config has them."""
        return {name: getattr(self, name) for name in arguments_of(type(self)) if name != "scale"}

    def forward(self, features: Float[Tensor, "batch patch in_dim"]) -> Float[Tensor, "batch token d_model"]:
        if features.shape[1:] != (self.num_patches, self.in_dim):
            raise ValueError(
                f"{type(self).__name__}: wanted {self.num_patches} patches of width {self.in_dim}, "
                f"given {features.shape[1]} of width {features.shape[2]}: "
                "were these features made by another tower, layer or pooling?"
            )
        with full_precision(features.device):  # as AdaptedModel computes it
            hidden = self.map(features.to(self.norm_weight.dtype)).float()
        hidden = hidden * torch.rsqrt(hidden.square().mean(dim=-1, keepdim=True) + EPSILON)
        return self.scale * (hidden * self.norm_weight + self.positions)

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"projection": list(self.parameters())}


PROJECTIONS: Registry[type[Projection]] = Registry("projection")


def check_projection(name: str, arguments: Mapping[str, Any]) -> None:
    """Look at the names alone, before the sizes are known. Raises: UnknownName, BadArguments."""
    known = [each for each in arguments_of(PROJECTIONS[name]) if each != "scale"]
    for each in arguments:
        if each == "scale":
            raise BadArguments(f"projection {name!r}: wanted the scale in vision.projection_scale, given it in args")
        if each not in known:
            raise BadArguments(f"projection {name!r}: an argument: {wanted_one_of(known, each)}")


def build_projection(
    name: str,
    arguments: Mapping[str, Any],
    in_dim: int,
    d_model: int,
    num_patches: int,
    generator: torch.Generator | None = None,
    *,
    scale: float = 1.0,
) -> Projection:
    """`PROJECTIONS[name](in_dim, d_model, num_patches, **arguments)`.

    Raises: UnknownName, BadArguments; ValueError for sizes that do not fit each other.
    """
    check_projection(name, arguments)
    return PROJECTIONS.build(name, {**arguments, "scale": scale}, generator, in_dim, d_model, num_patches)


def grid_side(what: str, num_patches: int, factor: int) -> int:
    """The side of a square grid of so many patches. Raises: ValueError unless there is one that `factor` divides."""
    check_integer(ValueError, what, "factor", factor)
    side = round(num_patches**0.5)
    if side * side != num_patches or side % factor:
        raise ValueError(
            f"{what}: wanted a factor that divides the side of a square grid, given factor {factor} and "
            f"{num_patches:,} patches{f' ({side} x {side})' if side * side == num_patches else ', which are no square'}"
        )
    return side
