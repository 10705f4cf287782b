"""The weights of a prefix: keys and values themselves, or a projection that gives them.

flat        keys_values [prompt, layer, 2, heads, head_dim]
projected   tanh(embedding down^T + down_bias) up^T + up_bias, with embedding [prompt, d_model], down [hidden,
            d_model], up [layer, 2, heads, head_dim, hidden], up_bias [layer, 2, heads, head_dim]
"""

from abc import abstractmethod
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

from dept_vl.tuning.drawn import uniform, version

Shape = tuple[int, int, int, int]
"""Of a token: layers, 2 for key and value, heads, head_dim."""

OfLayer = Float[Tensor, "prompt 2 heads head_dim"]


class Prefix(nn.Module):
    """Called with a layer's number, it gives the keys and values that the layer reads, in fp32."""

    def __init__(self, dropout: float | int) -> None:
        super().__init__()
        self.dropout = dropout

    def forward(self, layer: int) -> OfLayer:
        return F.dropout(self.of_layer(layer), self.dropout, self.training)

    @abstractmethod
    def of_layer(self, layer: int) -> OfLayer: ...

    def forget(self) -> None:
        """Drop what was computed with the weights as they were."""


class FlatPrefix(Prefix):
    def __init__(self, prompt: int, shape: Shape, dropout: float | int, generator: Generator | None) -> None:
        super().__init__(dropout)
        self.keys_values = nn.Parameter(torch.empty(prompt, *shape).normal_(generator=generator))

    def of_layer(self, layer: int) -> OfLayer:
        return self.keys_values[:, layer]


class ProjectedPrefix(Prefix):
    """For inference a layer's keys and values are computed once: again when a weight has changed, or after training.

    `computed` counts how often.
    """

    def __init__(
        self, prompt: int, width: int, hidden: int, shape: Shape, dropout: float | int, generator: Generator | None
    ) -> None:
        super().__init__(dropout)
        self.embedding = nn.Parameter(torch.empty(prompt, width).normal_(generator=generator))
        reads, writes = (uniform(inputs**-0.5, generator) for inputs in (width, hidden))  # as torch's linear maps
        self.down, self.down_bias = (nn.Parameter(reads(torch.empty(size))) for size in ((hidden, width), (hidden,)))
        self.up, self.up_bias = (nn.Parameter(writes(torch.empty(size))) for size in ((*shape, hidden), shape))
        self.computed = 0
        self._version = 0
        self.forget()

    def of_layer(self, layer: int) -> OfLayer:
        if self.training or torch.is_grad_enabled():
            return self._project(layer)
        now = version(self.parameters())
        if now != self._version:
            self.forget()
            self._version = now
        if layer not in self._kept:
            self._kept[layer] = self._project(layer)
        return self._kept[layer]

    def forget(self) -> None:
        self._kept: dict[int, OfLayer] = {}

    def train(self, mode: bool = True) -> "ProjectedPrefix":
        self.forget()  # DeepSpeed writes weights through .data, which no version counts
        return super().train(mode)

    def _project(self, layer: int) -> OfLayer:
        self.computed += 1
        weights = dict(self.named_parameters())
        with torch.autocast(self.embedding.device.type, enabled=False):
            return project({**weights, "up": self.up[layer], "up_bias": self.up_bias[layer]})


def project(weights: Mapping[str, Tensor]) -> Float[Tensor, "prompt ..."]:
    hidden = torch.tanh(F.linear(weights["embedding"], weights["down"], weights["down_bias"]))  # [prompt, hidden]
    up = weights["up"].flatten(0, -2)  # [each, hidden]
    return F.linear(hidden, up, weights["up_bias"].flatten()).unflatten(1, weights["up_bias"].shape)


def whole_prefix(weights: Mapping[str, Tensor]) -> Float[Tensor, "prompt layer 2 heads head_dim"]:
    """The keys and values of all layers, of the weights of either kind by name."""
    return weights["keys_values"] if "keys_values" in weights else project(weights)
