"""The side network of a ladder: a narrow T5 stack that reads what the layers of a frozen one gave, and its hooks.

    encoder   embeds -> frozen stack, without a graph -> [frozen; side] along the width
    decoder   takes the two apart again -> frozen stack -> Up(side) in place of its own last states

So the model's own forward pass, generation included, gives the side network's logits: what repeats or picks rows of the
encoder's states does so for both, and the side's keys and values stand in the decoder's own cache.
"""

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from transformers import EncoderDecoderCache
from transformers.cache_utils import DynamicLayer

from dept_vl.tuning.drawn import linear

TEMPERATURE = 0.1  # of the gates; the paper's
_STD = 0.01  # of Down and Up; as the authors' code for GLUE draws them


class Rung(NamedTuple):
    """A frozen layer's call: its other positional and keyword arguments, and its output."""

    given: tuple[Any, ...]
    more: dict[str, Any]
    hidden: Float[Tensor, "batch seq d_model"]


class SideStack(nn.Module):
    """One stack of the side network: width, heads' width and neurons are the frozen stack's over `reduction`.

    layers: those of the frozen stack that have one of the side's beside them. up: a map back to the frozen width, the
    decoder's. The blocks and the norm are on the meta device until `side_start` gives them their weights.
    """

    def __init__(
        self, stack: nn.Module, layers: Sequence[int], reduction: int, generator: Generator | None, *, up: bool
    ) -> None:
        super().__init__()
        config = copy.deepcopy(stack.config)
        for size in ("d_model", "d_kv", "d_ff"):
            setattr(config, size, getattr(config, size) // reduction)
        wide, narrow, block = stack.config.d_model, config.d_model, type(stack.block[0])
        self.first, self.frozen_layers = str(layers[0]), len(stack.block)
        with torch.device("meta"):
            blocks = [
                block(config, has_relative_attention_bias=place == 0, layer_idx=self.frozen_layers + place)
                for place in range(len(layers))
            ]
            self.final_layer_norm = type(stack.final_layer_norm)(narrow, eps=config.layer_norm_epsilon)
        self.block = nn.ModuleDict(dict(zip(map(str, layers), blocks, strict=True)))
        self.embed_down = _linear(wide, narrow, generator)
        self.down = nn.ModuleDict({str(layer): _linear(wide, narrow, generator) for layer in layers})
        self.gate = nn.ParameterDict({str(layer): nn.Parameter(torch.zeros(1)) for layer in layers})
        self.up = _linear(narrow, wide, generator) if up else nn.Identity()
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(
        self,
        embeds: Float[Tensor, "batch seq d_model"],
        rungs: Mapping[str, Rung],
        encoded: Float[Tensor, "batch out side"] | None,
    ) -> Float[Tensor, "batch seq read"]:
        """embeds: what the frozen stack reads. rungs: by its layer, those without one of the side's left out. encoded:
        what the encoder's side gave; None in the encoder."""
        hidden, cross_bias = self.embed_down(self.dropout(embeds.float())), None  # [batch, seq, side]
        bias = None if self.first in rungs else self._bias(embeds.shape[1], rungs, embeds.device)
        for layer, ((mask, _, _, encoded_mask, *_), more, wide) in rungs.items():
            gate = torch.sigmoid(self.gate[layer] / TEMPERATURE)
            hidden = gate * hidden + (1 - gate) * self.down[layer](wide.float())
            read = hidden, mask, bias, encoded, encoded_mask, cross_bias
            hidden, bias, cross_bias = self.block[layer](*read, **more)
        return self.up(self.dropout(self.final_layer_norm(hidden)))

    def _bias(
        self, seq: int, rungs: Mapping[str, Rung], device: torch.device
    ) -> Float[Tensor, "one heads seq keys"] | None:
        """Of relative positions, where a partial model leaves out the layer whose side block has the table. keys: those
        of the tokens read before, too, where the decoder keeps them. None without any layer."""
        if not rungs:
            return None
        layer, rung = next(iter(rungs.items()))
        cache = next((each for each in rung.more.values() if isinstance(each, EncoderDecoderCache)), None)
        place = self.frozen_layers + list(self.block).index(layer)
        keys = seq + (0 if cache is None else cache.self_attention_cache.get_seq_length(place))
        bias = self.block[self.first].layer[0].SelfAttention.compute_bias(keys, keys, device=device)
        return bias[:, :, -seq:]

    def make_room(self, cache: EncoderDecoderCache) -> None:
        """For this stack's keys and values in the decoder's cache, behind the frozen layers': they follow the beams."""
        for each in (cache.self_attention_cache, cache.cross_attention_cache):
            while len(each.layers) < self.frozen_layers + len(self.block):
                each.layers.append(DynamicLayer())


@dataclass
class _Pass:
    graph: bool  # whether one is built outside of the frozen stack
    embeds: Float[Tensor, "batch seq d_model"]
    encoded: Float[Tensor, "batch out side"] | None
    rungs: dict[str, Rung]


class Ladder:
    """The hooks that let `side` follow a frozen stack, a pass at a time."""

    def __init__(self, side: SideStack) -> None:
        self.side = side
        self._pass: _Pass | None = None

    def put_on(self, stack: nn.Module) -> list[Callable[[], None]]:
        """Returns what takes them off."""
        handles = [
            stack.register_forward_pre_hook(self.begin, with_kwargs=True),
            stack.register_forward_hook(self.read_out, always_call=True),
        ]
        handles += [
            stack.block[int(layer)].register_forward_hook(functools.partial(self.take, layer), with_kwargs=True)
            for layer in self.side.block
        ]
        return [each.remove for each in handles]

    def begin(self, stack: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """From here to `read_out` no graph is built."""
        embeds, encoded = kwargs.get("inputs_embeds"), kwargs.get("encoder_hidden_states")
        if embeds is None:
            embeds = stack.embed_tokens(kwargs["input_ids"])
        kwargs = kwargs | {"input_ids": None, "inputs_embeds": embeds}
        if encoded is not None:
            wide = embeds.shape[-1]
            kwargs["encoder_hidden_states"], encoded = encoded[..., :wide], encoded[..., wide:].float()
        self._pass = _Pass(torch.is_grad_enabled(), embeds, encoded, {})
        torch.set_grad_enabled(False)
        return args, kwargs

    def take(self, layer: str, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        for each in kwargs.values():
            if isinstance(each, EncoderDecoderCache):
                self.side.make_room(each)
        self._pass.rungs[layer] = Rung(args[1:], kwargs, output[0])

    def read_out(self, stack: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """Called with None where the frozen stack failed."""
        taken, self._pass = self._pass, None
        if taken is not None:
            torch.set_grad_enabled(taken.graph)
        if taken is None or output is None:
            return output
        frozen = output.last_hidden_state
        read = self.side(taken.embeds, taken.rungs, taken.encoded).to(frozen.dtype)
        output.last_hidden_state = read if stack.is_decoder else torch.cat([frozen, read], dim=-1)
        return output


def _linear(size: int, out: int, generator: Generator | None) -> nn.Linear:
    return linear(size, out, functools.partial(nn.init.normal_, std=_STD, generator=generator))
