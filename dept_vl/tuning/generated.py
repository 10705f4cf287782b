"""Bottlenecks whose weights a hypernetwork generates: what HyperFormer and HyperDecoder have in common.

f(x) = U act(D x + a) + b,   each of D, a, U, b a linear map of the features of a task, an example, a place
"""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from dept_vl.tuning.drawn import Draw, linear


class Generated(NamedTuple):
    """The weights of some bottlenecks."""

    down: Float[Tensor, "some bottleneck d_model"]
    down_bias: Float[Tensor, "some bottleneck"]
    up: Float[Tensor, "some d_model bottleneck"]
    up_bias: Float[Tensor, "some d_model"]


def apply_generated(
    hidden: Float[Tensor, "batch seq d_model"], weights: Generated, activation: Callable[[Tensor], Tensor]
) -> Float[Tensor, "batch seq d_model"]:
    """The bottleneck of each row, or the only one for all rows, in fp32 where no autocast acts."""
    hidden = hidden.to(weights.down.dtype)
    inner = activation(hidden @ weights.down.mT + weights.down_bias.unsqueeze(1))  # [batch, seq, bottleneck]
    return inner @ weights.up.mT + weights.up_bias.unsqueeze(1)


class BottleneckGenerator(nn.Module):
    """draw: start values of a map's weight by the fan-in of what it generates, 1 for a bias. The maps' own biases
    start at zero."""

    def __init__(self, features: int, d_model: int, bottleneck: int, draw: Callable[[int], Draw]) -> None:
        super().__init__()
        self.d_model, self.bottleneck = d_model, bottleneck
        self.down = linear(features, bottleneck * d_model, draw(d_model))
        self.down_bias = linear(features, bottleneck, draw(1))
        self.up = linear(features, d_model * bottleneck, draw(bottleneck))
        self.up_bias = linear(features, d_model, draw(1))

    def forward(self, features: Float[Tensor, "some features"]) -> Generated:
        down = self.down(features).view(-1, self.bottleneck, self.d_model)
        up = self.up(features).view(-1, self.d_model, self.bottleneck)
        return Generated(down, self.down_bias(features), up, self.up_bias(features))
