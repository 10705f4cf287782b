"""Adapters: a bottleneck behind each sub-layer. Houlsby et al., ICML 2019, arXiv:1902.00751, placed as in the code of
Compacter (Mahabadi, Henderson and Ruder, NeurIPS 2021, arXiv:2106.04647), whose row DePT quotes.

    A(z) = z + U gelu(D z + b_1) + b_2,   h <- h + dropout(A(f(norm(h))))

behind self-attention and feed-forward of every layer of both stacks, not behind cross-attention, with D [bottleneck,
d_model] and U [d_model, bottleneck] N(0, 0.01^2) and biases at zero: near the frozen model, not exactly it. All norms
of the model train. gelu is the tanh form ("gelu_new"). PEFT has no such method.

At T5-base a reduction of 32 is a bottleneck of 24: 48 * (2 * 768 * 24 + 24 + 768) + 62 * 768 = 1,855,104 weights, the
published 1.9M.
"""

from functools import partial
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, empty, nn
from transformers import PreTrainedModel

from dept_vl.tuning.contract import TUNINGS, BadTuning, Groups, Tuning
from dept_vl.tuning.places import layer_of, modules_named, places_of

_STD = 0.01


class Bottleneck(nn.Module):
    def __init__(self, d_model: int, bottleneck: int, generator: Generator | None) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(d_model, bottleneck), nn.Linear(bottleneck, d_model)
        for linear in (self.down, self.up):
            linear.weight = nn.Parameter(empty(linear.weight.shape).normal_(std=_STD, generator=generator))
            nn.init.zeros_(linear.bias)

    def forward(self, hidden: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch seq d_model"]:
        return hidden + self.up(F.gelu(self.down(hidden), approximate="tanh")).to(hidden.dtype)


@TUNINGS.register("adapter")
class BottleneckAdapter(Tuning):
    """reduction: d_model over the width of the bottleneck. Raises: BadTuning."""

    groups = ("bottleneck", "layer_norm")
    published = {}
    first_layer = 0

    def __init__(self, *, reduction: int = 32, generator: Generator | None = None) -> None:
        super().__init__()
        if type(reduction) is not int or reduction < 1:
            raise BadTuning(f"{type(self).__name__}: wanted reduction to be an integer >= 1, given {reduction!r}")
        self.reduction = reduction
        self._generator = generator

    def place(self, model: PreTrainedModel) -> Groups:
        known, width = places_of(model, type(self).__name__), model.config.hidden_size
        if width < self.reduction:
            raise BadTuning(f"{type(self).__name__}: wanted reduction of at most {width}, given {self.reduction}")
        weights = {}
        for path, module in modules_named(model, (known.attention, known.feed_forward)):
            if layer_of(path) < self.first_layer:
                continue
            bottleneck = Bottleneck(width, width // self.reduction, self._generator)
            self.hook(module, partial(_behind, bottleneck))
            weights |= {f"{path}.{name}": each for name, each in bottleneck.named_parameters()}
        norms = [
            (f"{path}.{name}", each)
            for path, norm in modules_named(model, known.norms)
            for name, each in norm.named_parameters()
        ]
        return {"bottleneck": weights, "layer_norm": {name: self.own(model, each) for name, each in norms}}


def _behind(bottleneck: Bottleneck, module: nn.Module, inputs: Any, output: Any) -> Any:
    """A forward hook, its bottleneck bound first."""
    if isinstance(output, tuple):  # attention gives its weights, too
        return bottleneck(output[0]), *output[1:]
    return bottleneck(output)
