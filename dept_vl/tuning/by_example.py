"""Adapters generated for an example from what the encoder makes of it, once for all its tokens and beams."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dept_vl.tuning.drawn import version
from dept_vl.tuning.generated import Generated, apply_generated


class Examples:
    """The examples of the pass at hand: their means, and the weights generated from them, a layer's by its number.

    What is generated without gradient is kept for the steps of generation, which all have the encoder's one output.
    """

    def __init__(self, hypernetwork: nn.Module) -> None:
        self.hypernetwork = hypernetwork
        self.forget()

    def forget(self) -> None:
        self._rows: tuple[Tensor, ...] = ()  # the encoder's own last output, without gradient
        self._key: tuple[Any, ...] = ()  # of what the kept weights come from
        self._mean: Tensor | None = None
        self.kept: dict[int, Generated] = {}

    def encoded(self, encoder: nn.Module, inputs: Any, output: Any) -> None:
        self.forget()
        self._rows = () if torch.is_grad_enabled() else (output[0],)

    def decoding(self, decoder: nn.Module, inputs: Any, given: Mapping[str, Any]) -> None:
        states, mask = given["encoder_hidden_states"], given.get("encoder_attention_mask")
        key = (states, mask, version(self.hypernetwork.parameters()))
        if self._same_pass(key):
            return
        self.kept, self._key = {}, () if torch.is_grad_enabled() else key
        beams = self._beams(states, mask)
        self._mean = _mean(states[::beams], None if mask is None else mask[::beams])

    def _same_pass(self, key: tuple[Any, ...]) -> bool:
        return bool(self._key) and not torch.is_grad_enabled() and all(map(_same, key, self._key))

    def _beams(self, states: Tensor, mask: Tensor | None) -> int:
        """How many rows, one behind the other, are the same example, as a search has them."""
        rows = len(self._rows[0]) if self._rows else len(states)
        beams, rest = divmod(len(states), rows)
        if rest or beams < 2:
            return 1
        alike = states.shape[1:] == self._rows[0].shape[1:] and _repeated(states, beams)
        return beams if alike and (mask is None or _repeated(mask, beams)) else 1

    def adapt(self, layer: int, hidden: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch seq d_model"]:
        if torch.is_grad_enabled():
            weights = self._generate(layer)
        else:
            weights = self.kept[layer] if layer in self.kept else self._generate(layer)
            self.kept[layer] = weights
        by_example = hidden.reshape(len(self._mean), -1, hidden.shape[-1])  # an example's beams one behind the other
        return apply_generated(by_example, weights, F.relu).reshape(hidden.shape)

    def _generate(self, layer: int) -> Generated:
        with torch.autocast(self._mean.device.type, enabled=False):
            return self.hypernetwork(self._mean, layer)


def _mean(states: Float[Tensor, "some out d_model"], mask: Tensor | None) -> Float[Tensor, "some d_model"]:
    """Over each row's real columns, in fp32."""
    if mask is None:
        return states.float().mean(1)
    real = (mask != 0).unsqueeze(-1).float()
    return (states.float() * real).sum(1) / real.sum(1)


def _repeated(rows: Tensor, times: int) -> bool:
    groups = rows.unflatten(0, (-1, times))
    return bool((groups == groups[:, :1]).all())


def _same(first: Any, second: Any) -> bool:
    return first is second or (type(first) is int and first == second)
