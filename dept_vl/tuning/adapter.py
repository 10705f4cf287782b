"""Adapters: a bottleneck behind each sub-layer. Houlsby et al., ICML 2019, arXiv:1902.00751, placed as in the code of
Compacter (Mahabadi, Henderson and Ruder, NeurIPS 2021, arXiv:2106.04647), whose row DePT quotes.

    A(z) = z + U gelu(D z + b_1) + b_2,   h <- h + dropout(A(f(norm(h))))

behind self-attention and feed-forward of every layer of both stacks, not behind cross-attention, with D [bottleneck,
d_model] and U [d_model, bottleneck] N(0, 0.01^2) and biases at zero: near the frozen model, not exactly it. All norms
of the model train. gelu is the tanh form ("gelu_new"). PEFT has no such method.

At T5-base a reduction of 32 is a bottleneck of 24: 48 * (2 * 768 * 24 + 24 + 768) + 62 * 768 = 1,855,104 weights, the
published 1.9M.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn
from transformers import PreTrainedModel

from dept_vl.tuning.contract import TUNINGS, BadTuning, Groups, Tuning, check_size
from dept_vl.tuning.drawn import linear
from dept_vl.tuning.places import Places, layer_of, modules_named, sublayers_of

Adapters = Mapping[str, Callable[[Tensor], Tensor]]

_STD = 0.01


class Bottleneck(nn.Module):
    def __init__(self, d_model: int, bottleneck: int, generator: Generator | None) -> None:
        super().__init__()
        draw = partial(nn.init.normal_, std=_STD, generator=generator)
        self.down, self.up = linear(d_model, bottleneck, draw), linear(bottleneck, d_model, draw)

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
        check_size(type(self).__name__, "reduction", reduction)
        self.reduction = reduction
        self._generator = generator

    def place(self, model: PreTrainedModel) -> Groups:
        known, width = sublayers_of(model, type(self).__name__), model.config.hidden_size
        if width < self.reduction:
            raise BadTuning(f"{type(self).__name__}: wanted reduction of at most {width}, given {self.reduction}")
        modules = dict(modules_named(model, (known.attention, known.feed_forward)))
        paths = [path for path in modules if layer_of(path) >= self.first_layer]
        behind, weights = self.adapters(paths, known, width)
        for path in paths:
            self.hook(modules[path], partial(_adapt, behind[path]))
        norms = [
            (f"{path}.{name}", each)
            for path, norm in modules_named(model, known.norms)
            for name, each in norm.named_parameters()
        ]
        return {self.groups[0]: weights, "layer_norm": {name: self.own(model, each) for name, each in norms}}

    def adapters(self, paths: Sequence[str], known: Places, width: int) -> tuple[Adapters, dict[str, nn.Parameter]]:
        """What stands behind the module at each path, and the weights of it all by name."""
        made = {path: Bottleneck(width, width // self.reduction, self._generator) for path in paths}
        weights = {f"{path}.{name}": each for path, one in made.items() for name, each in one.named_parameters()}
        return made, weights


def _adapt(adapter: Callable[[Tensor], Tensor], module: nn.Module, inputs: Any, output: Any) -> Any:
    if isinstance(output, tuple):  # attention gives its weights, too
        return adapter(output[0]), *output[1:]
    return adapter(output)
