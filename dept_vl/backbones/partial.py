"""Partial models: a frozen T5 with fewer layers or narrower feed-forwards, as a view of the full one's tensors.

Fewer layers are a list of the same layer objects. Fewer neurons are a prefix of the same matrices, once the neurons of
each layer stand in order of importance, which changes nothing that the layer computes. So no stage holds weights of
its own. Attention is never reduced. Huang et al., FPT, Findings of EMNLP 2022.
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor, nn

from dept_vl.backbones.frozen import Backbone, Embeds, Labels, Mask
from dept_vl.backbones.seq2seq import Seq2SeqBackbone

Rows = tuple[Embeds, Mask, Labels]


class NoPartialModel(ValueError):
    """A backbone that has no partial models, or a part that it cannot have."""


@dataclass(frozen=True)
class Submodel:
    """Which layers of each stack, and how many neurons of each of their feed-forwards."""

    encoder_layers: tuple[int, ...]
    decoder_layers: tuple[int, ...]
    encoder_neurons: int
    decoder_neurons: int


def evenly(layers: int, keep: int) -> tuple[int, ...]:
    """`keep` of `layers` layers: the first, the last, and the gaps as equal as they can be, the larger ones last.

    Raises: NoPartialModel.
    """
    if not min(2, layers) <= keep <= layers:
        raise NoPartialModel(f"wanted {min(2, layers)} to {layers} layers (the first and the last stay), given {keep}")
    if keep == 1:
        return (0,)
    gap, larger = divmod(layers - 1, keep - 1)
    kept = [0]
    for number in range(keep - 1):
        kept.append(kept[-1] + gap + (number >= keep - 1 - larger))
    return tuple(kept)


def whole(backbone: Backbone) -> Submodel:
    """The part that is all of it. Raises: NoPartialModel for a backbone that is no T5."""
    shape = backbone.shape if isinstance(backbone, Seq2SeqBackbone) else None
    if shape is None:
        given = backbone.model.config.model_type
        raise NoPartialModel(f"wanted an encoder-decoder of T5's kind, given a {given} model")
    return Submodel(
        tuple(range(shape.encoder_layers)),
        tuple(range(shape.decoder_layers)),
        shape.encoder_neurons,
        shape.decoder_neurons,
    )


def partial(backbone: Backbone, part: Submodel) -> Seq2SeqBackbone:
    """The view of `backbone` that computes with `part` alone; every weight in it is the backbone's own.

    Layer 0 of each stack has to stay: it carries the relative bias. A view gives losses and answers as the whole does.

    Raises: NoPartialModel.
    """
    full = whole(backbone)
    for stack in ("encoder", "decoder"):
        layers, neurons = getattr(part, f"{stack}_layers"), getattr(part, f"{stack}_neurons")
        most_layers, most = len(getattr(full, f"{stack}_layers")), getattr(full, f"{stack}_neurons")
        if list(layers) != sorted(set(layers)) or layers[:1] != (0,) or layers[-1] >= most_layers:
            raise NoPartialModel(f"{stack}: wanted layers in order from 0 to below {most_layers}, given {layers}")
        if not 1 <= neurons <= most:
            raise NoPartialModel(f"{stack}: wanted 1 to {most} neurons, given {neurons}")
    model = backbone.model
    view = _with(
        model,
        encoder=_stack(model.encoder, part.encoder_layers, part.encoder_neurons),
        decoder=_stack(model.decoder, part.decoder_layers, part.decoder_neurons),
    )
    return _with(backbone, model=view)


def _stack(stack: nn.Module, layers: Sequence[int], neurons: int) -> nn.Module:
    return _with(stack, block=nn.ModuleList(_narrow(stack.block[number], neurons) for number in layers))


def _narrow(block: nn.Module, neurons: int) -> nn.Module:
    last = block.layer[-1]
    if neurons == last.DenseReluDense.wo.in_features:
        return block
    _refuse_attached(last.DenseReluDense)
    narrow = _with(last, DenseReluDense=NarrowFeedForward(last.DenseReluDense, neurons))
    return _with(block, layer=nn.ModuleList([*block.layer[:-1], narrow]))


def _refuse_attached(feed_forward: nn.Module) -> None:
    """A narrow view computes with slices of the matrices, so it would go around what is attached to them, and sorted
    neurons would take trained matrices apart.

    Raises: NoPartialModel.
    """
    matrices = (*_inputs(feed_forward), feed_forward.wo)
    for each in feed_forward.modules():
        trains = any(weight.requires_grad for weight in each.parameters())
        if each._forward_hooks or trains or (each in matrices and type(each) is not nn.Linear):
            raise NoPartialModel(
                f"wanted plain frozen feed-forwards for fewer neurons, given a {type(each).__name__} with something "
                "attached: what trains inside the frozen model's feed-forwards goes with fewer layers "
                "(progressive.kind depth) only"
            )


def _with(module: nn.Module, **children: nn.Module) -> nn.Module:
    """A copy of the object, not of its weights, with other children."""
    view = copy.copy(module)
    view._modules = module._modules | children
    return view


class NarrowFeedForward(nn.Module):
    """The first `neurons` neurons of T5's feed-forward, plain or gated, through slices of its matrices."""

    def __init__(self, full: nn.Module, neurons: int) -> None:
        super().__init__()
        self.full, self.neurons = full, neurons

    def forward(self, hidden: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch seq d_model"]:
        inner, *linear = (F.linear(hidden, matrix.weight[: self.neurons]) for matrix in _inputs(self.full))
        inner = self.full.act(inner)
        for gate in linear:
            inner = inner * gate
        inner, out = self.full.dropout(inner), self.full.wo.weight
        return F.linear(inner.to(out.dtype), out[:, : self.neurons])


def _inputs(feed_forward: nn.Module) -> list[nn.Linear]:
    """The matrices that read the hidden states; the first one's output passes the activation."""
    return [feed_forward.wi] if hasattr(feed_forward, "wi") else [feed_forward.wi_0, feed_forward.wi_1]


def feed_forwards(backbone: Seq2SeqBackbone) -> list[nn.Module]:
    """Of the encoder's layers, then of the decoder's."""
    return [
        block.layer[-1].DenseReluDense
        for stack in (backbone.model.encoder, backbone.model.decoder)
        for block in stack.block
    ]


@torch.no_grad()
def sort_neurons(backbone: Seq2SeqBackbone, orders: Sequence[Integer[Tensor, " neuron"]]) -> None:
    """Puts each layer's neurons into the given order, in place; `invert(orders)` puts them back, bit by bit.

    The backbone keeps the identity that it was loaded with: what it computes is the same.
    """
    backbone.identity()
    layers = feed_forwards(backbone)
    for layer in layers:
        _refuse_attached(layer)
    for layer, order in zip(layers, orders, strict=True):
        order = order.to(layer.wo.weight.device)
        for matrix in _inputs(layer):
            matrix.weight.copy_(matrix.weight[order])
        layer.wo.weight.copy_(layer.wo.weight[:, order])


def invert(orders: Sequence[Integer[Tensor, " neuron"]]) -> list[Integer[Tensor, " neuron"]]:
    return [order.argsort() for order in orders]


@torch.no_grad()
def neuron_scores(backbone: Seq2SeqBackbone, batches: Iterable[Rows]) -> list[Float[Tensor, " neuron"]]:
    """Mean |activation| of each neuron of each layer, encoder first: over a row's own tokens, then over the rows.

    What is measured is what enters the second matrix (the gated product where there is a gate). Pads do not count.
    Wants evaluation mode. Raises: ValueError without any row.
    """
    layers = feed_forwards(backbone)
    sums: list[Tensor | int] = [0] * len(layers)
    encoder_layers, rows = backbone.shape.encoder_layers, 0
    for embeds, mask, labels in batches:
        weights = [_shares(mask != 0), _shares(labels != -100)]  # [batch, token], each row's sum is 1
        with _inner_sums(layers, [weights[number >= encoder_layers] for number in range(len(layers))]) as found:
            backbone.logits(embeds, mask, labels)
        sums = [total + more for total, more in zip(sums, found, strict=True)]
        rows += len(embeds)
    if not rows:
        raise ValueError("wanted rows to score the neurons on, given none")
    return [total / rows for total in sums]


def _shares(tokens: Tensor) -> Float[Tensor, "batch token"]:
    return tokens.float() / tokens.sum(1, keepdim=True).clamp(min=1)


@contextmanager
def _inner_sums(layers: Sequence[nn.Module], shares: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The next forward pass's |activations| of each layer, summed by `shares` as they come: none is kept."""
    sums: list[Tensor] = []
    hooks = [
        layer.wo.register_forward_pre_hook(
            lambda _, inputs, share=share: sums.append(torch.einsum("btn,bt->n", inputs[0].float().abs(), share))
        )
        for layer, share in zip(layers, shares, strict=True)
    ]
    try:
        yield sums
    finally:
        for hook in hooks:
            hook.remove()
