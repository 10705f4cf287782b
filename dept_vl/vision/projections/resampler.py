"""A few learned queries that read all patches by cross-attention.

The idea of Flamingo's Perceiver resampler (Alayrac et al., NeurIPS 2022, arXiv:2204.14198) and of BLIP-2's Q-Former (Li
et al., ICML 2023, arXiv:2301.12597), in a small form:

    K = LN(X W_in + b_in + E),   E [patch, width]
    H <- H + attention(LN(H) W_q, K W_k, K W_v) W_o
    H <- H + GELU(LN(H) W1 + b1) W2 + b2,   width -> 2 width -> width
    Y = H W_out + b_out

with H = Q [query, width] before the first of num_layers layers. The number of visual tokens is that of the queries,
whatever the grid. Queries read the patches alone, not the text nor one another.

Weights: (in_dim + 1 + num_patches + num_queries + 2) * width + num_layers * (8 width^2 + 7 width)
+ (width + 1) * d_model + d_model (norm) + num_queries * d_model (positions); 2048 -> 768 with 36 patches, 16 queries
and one layer of width 256 is 1,274,880.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dept_vl.linear_start import linear
from dept_vl.registry import check_integer
from dept_vl.vision.projections.contract import POSITION_STD, PROJECTIONS, Projection

MOST_LAYERS = 64  # Flamingo has 6; what a stranger's config claims makes no endless list


@PROJECTIONS.register("resampler")
class ResamplerProjection(Projection):
    """`num_queries` visual tokens, each read from all patches. Attention has no biases, whose keys would get no
    gradient."""

    def __init__(
        self,
        in_dim: int,
        d_model: int,
        num_patches: int,
        generator: torch.Generator | None = None,
        *,
        num_queries: int = 16,
        num_layers: int = 1,
        width: int = 256,
        num_heads: int = 4,
        scale: float = 1.0,
    ) -> None:
        super().__init__(in_dim, d_model, num_patches)
        sizes = {"num_queries": num_queries, "num_layers": num_layers, "width": width, "num_heads": num_heads}
        for name, size in sizes.items():
            check_integer(ValueError, "ResamplerProjection", name, size)
        if num_layers > MOST_LAYERS:
            raise ValueError(f"ResamplerProjection: wanted num_layers <= {MOST_LAYERS}, given {num_layers}")
        if width % num_heads:
            raise ValueError(f"ResamplerProjection: wanted num_heads that divide width {width}, given {num_heads}")
        self.num_queries, self.num_layers, self.width, self.num_heads = num_queries, num_layers, width, num_heads
        self.enter = linear(in_dim, width, generator)
        self.places = nn.Parameter(torch.empty(num_patches, width))
        self.norm = nn.LayerNorm(width)
        self.queries = nn.Parameter(torch.empty(num_queries, width))
        for rows in (self.places, self.queries):
            nn.init.normal_(rows, std=POSITION_STD, generator=generator)
        self.layers = nn.ModuleList(_Layer(width, num_heads, generator) for _ in range(num_layers))
        self.leave = linear(width, d_model, generator)
        self.finish(num_queries, generator, scale)

    def map(self, features: Float[Tensor, "batch patch in_dim"]) -> Float[Tensor, "batch token d_model"]:
        patches = self.norm(self.enter(features) + self.places)
        hidden = self.queries.expand(len(features), -1, -1)  # [batch, query, width]
        for layer in self.layers:
            hidden = layer(hidden, patches)
        return self.leave(hidden)


class _Layer(nn.Module):
    """Cross-attention and a feed-forward layer, each behind a norm and beside a residual connection."""

    def __init__(self, width: int, num_heads: int, generator: torch.Generator | None) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm_attention, self.norm_feed_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (linear(width, width, generator, bias=False) for _ in range(4))
        self.wide, self.narrow = linear(width, 2 * width, generator), linear(2 * width, width, generator)

    def forward(
        self, hidden: Float[Tensor, "batch query width"], patches: Float[Tensor, "batch patch width"]
    ) -> Float[Tensor, "batch query width"]:
        read = F.scaled_dot_product_attention(
            self._heads(self.query(self.norm_attention(hidden))),
            self._heads(self.key(patches)),
            self._heads(self.value(patches)),
        )
        hidden = hidden + self.out(read.transpose(1, 2).flatten(2))
        return hidden + self.narrow(F.gelu(self.wide(self.norm_feed_forward(hidden))))

    def _heads(self, each: Float[Tensor, "batch seq width"]) -> Float[Tensor, "batch head seq _part"]:
        return each.unflatten(2, (self.num_heads, -1)).transpose(1, 2)
