"""Prefix tuning. Li and Liang, ACL 2021, arXiv:2101.00190.

    keys [P_k; K], values [P_v; V] in every layer,   P = E, or P = tanh(E W1 + b1) W2 + b2

with P [prompt, layer, 2, heads, head_dim] for each place: the encoder's self-attention, the decoder's, and its
cross-attention; a decoder-only model has one. With prefix_projection E is [prompt, d_model], W1 [d_model,
encoder_hidden_size]; P is computed once for inference. E starts normal(0, 1), W1 and W2 as torch draws linear maps, as
in the authors' code (github.com/XiangLi1999/PrefixTuning), whose model is BART.

A prefix is a memory slot: on T5 its relative bias is 0 for every query (the code of t-few lets it stand at the
positions in front), and real tokens keep their positions. With prefix_positions a decoder-only model's real tokens
begin behind the prefix, at num_virtual_tokens, as PEFT and the authors' code on GPT-2 have it. A prefix at any values,
zeros too, takes a share of the softmax, so the start is not the frozen model.

PEFT has the method on decoder-only models; on T5 its prefix reaches the decoder's self-attention alone.

At T5-base a place has 12 layers * 2 * 768 = 18,432 values for each token. Through W1 of 512, 10 tokens: 3 * (10 * 768 +
768 * 512 + 512 + 512 * 18,432 + 18,432) = 29,571,072 weights; without, 20 tokens: 3 * 20 * 18,432 = 1,105,920.
"""

import functools
from collections.abc import Mapping
from typing import Any

from torch import Generator, Tensor, nn
from transformers import PreTrainedModel

from dept_vl.tuning.contract import TUNINGS, BadTuning, Frozen, Groups, Tuning, check_size
from dept_vl.tuning.places import heads_of, modules_named, sublayers_of
from dept_vl.tuning.prefix_attention import check_attention, read_prefix
from dept_vl.tuning.prefix_weights import FlatPrefix, ProjectedPrefix, whole_prefix


@TUNINGS.register("prefix")
class PrefixTuning(Tuning):
    """prefix_dropout acts on keys and values. encoder_hidden_size counts with prefix_projection alone.

    Raises: BadTuning.
    """

    groups = ("prefix",)
    published = {"num_virtual_tokens": 10}

    def __init__(
        self,
        *,
        num_virtual_tokens: int,
        prefix_projection: bool = True,
        encoder_hidden_size: int = 512,
        prefix_dropout: float | int = 0.0,
        prefix_positions: bool = False,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        check_size(name, "num_virtual_tokens", num_virtual_tokens)
        check_size(name, "encoder_hidden_size", encoder_hidden_size)
        for argument, given in (("prefix_projection", prefix_projection), ("prefix_positions", prefix_positions)):
            if type(given) is not bool:
                raise BadTuning(f"{name}: wanted {argument} to be true or false, given {given!r}")
        if type(prefix_dropout) not in (int, float) or not 0 <= prefix_dropout < 1:
            raise BadTuning(f"{name}: wanted prefix_dropout from 0 to below 1, given {prefix_dropout!r}")
        self.num_virtual_tokens, self.prefix_dropout = num_virtual_tokens, prefix_dropout
        self.prefix_projection, self.encoder_hidden_size = prefix_projection, encoder_hidden_size
        self.prefix_positions = prefix_positions
        self._generator = generator

    def attach(self, backbone: Frozen) -> None:
        super().attach(backbone)
        if self.prefix_positions and backbone.max_positions is not None:
            self.undo(functools.partial(setattr, backbone, "max_positions", backbone.max_positions))
            backbone.max_positions -= self.num_virtual_tokens

    def place(self, model: PreTrainedModel) -> Groups:
        known = sublayers_of(model, type(self).__name__)
        attentions: dict[str, list[nn.Module]] = {}
        for path, module in modules_named(model, (known.attention, "EncDecAttention")):
            attentions.setdefault(_place(path), []).append(module)
        if self.prefix_positions:
            self._begin_behind(model, known.positions)
        weights = {}
        for place, layers in attentions.items():
            check_attention(type(self).__name__, layers[0])
            prefix = self._prefix(len(layers), *heads_of(layers[0]), model.config.hidden_size)
            self._added.append(prefix)
            for number, attention in enumerate(layers):
                read_prefix(self, attention, functools.partial(prefix, number))
            weights |= {f"{place}.{name}": each for name, each in prefix.named_parameters()}
        return {"prefix": weights}

    def _apply(self, fn: Any, recurse: bool = True) -> nn.Module:
        for prefix in self._added:  # `to`, `cuda`: no version counts these
            prefix.forget()
        return super()._apply(fn, recurse)

    def _prefix(self, layers: int, heads: int, head_dim: int, width: int) -> FlatPrefix | ProjectedPrefix:
        shape = (layers, 2, heads, head_dim)
        if not self.prefix_projection:
            return FlatPrefix(self.num_virtual_tokens, shape, self.prefix_dropout, self._generator)
        sizes = (self.num_virtual_tokens, width, self.encoder_hidden_size)
        return ProjectedPrefix(*sizes, shape, self.prefix_dropout, self._generator)

    def _begin_behind(self, model: PreTrainedModel, positions: str | None) -> None:
        """Raises: BadTuning for a model without positions."""
        if positions is None:
            kind = model.config.model_type
            raise BadTuning(f"{type(self).__name__}: wanted prefix_positions on a decoder-only model, given {kind}")
        hook = functools.partial(_later, self.num_virtual_tokens)
        for _, module in modules_named(model, (positions,)):
            self.undo(module.register_forward_pre_hook(hook, with_kwargs=True).remove)

    def to_peft(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """None on T5, and where positions begin at the text: PEFT's begin behind the prefix."""
        from peft import PrefixTuningConfig

        weights = dict(self.weights.named_parameters())
        places = {name.partition(".")[0] for name in weights}
        if places != {"decoder"} or not self.prefix_positions:
            return None
        keys_values = whole_prefix({name.partition(".")[2]: each.detach().cpu() for name, each in weights.items()})
        prompt, layers, _, heads, head_dim = keys_values.shape
        config = PrefixTuningConfig(
            inference_mode=True, num_virtual_tokens=prompt, num_layers=layers, num_attention_heads=heads,
            token_dim=heads * head_dim, num_transformer_submodules=1,
        )  # fmt: skip
        return config.to_dict(), {"prompt_embeddings": keys_values.flatten(1).contiguous()}


def _place(path: str) -> str:
    """encoder, decoder or cross: where an attention module stands."""
    if path.endswith("EncDecAttention"):
        return "cross"
    return "encoder" if path.startswith("encoder.") else "decoder"


def _later(
    size: int, module: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What reads positions, the table of GPT-2 and the rotation of LLaMA, reads them `size` later: the integers that it
    is given, by place or by name."""

    def later(given: Any) -> Any:
        return given + size if isinstance(given, Tensor) and not given.is_floating_point() else given

    return tuple(map(later, inputs)), {name: later(given) for name, given in named.items()}
