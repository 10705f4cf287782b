"""Start values of new weights, drawn so that the global state of random numbers is left alone; and whether weights have
changed since."""

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Generator, Tensor, nn

Draw = Callable[[Tensor], Tensor]
"""Fills a tensor with start values and returns it."""


def uniform(bound: float, generator: Generator | None) -> Draw:
    """From -bound to bound. torch's linear maps have 1 / sqrt(inputs) for weight and bias."""
    return partial(nn.init.uniform_, a=-bound, b=bound, generator=generator)


def linear(inputs: int, outputs: int, draw: Draw, draw_bias: Draw = nn.init.zeros_) -> nn.Linear:
    """A linear map with these start values."""
    layer = nn.Linear(inputs, outputs, device="meta")
    layer.weight = nn.Parameter(draw(torch.empty(outputs, inputs)))
    layer.bias = nn.Parameter(draw_bias(torch.empty(outputs)))
    return layer


def version(weights: Iterable[nn.Parameter]) -> int:
    """A number that grows whenever one of the weights is written in place."""
    return sum(each._version for each in weights)
