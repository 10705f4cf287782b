"""The start of a side network's blocks: cut from the frozen ones by how much their weights count, or drawn."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Integer
from torch import Generator, Tensor, nn

from dept_vl.tuning.contract import gathered
from dept_vl.tuning.side_network import SideStack

Kept = Integer[Tensor, " kept"]
Scores = Callable[[Tensor], Tensor]
"""How much each number of a frozen weight counts."""
_LAST = {"SelfAttention": "o", "EncDecAttention": "o", "DenseReluDense": "wo"}  # the matrix that writes, by sub-layer


def magnitude(weight: Tensor) -> Tensor:
    return weight.detach().float().abs()


@torch.no_grad()
def cut(side: SideStack, stack: nn.Module, channels: Kept, scores: Scores) -> None:
    """Start from the frozen blocks' strongest weights, by the sum of their scores.

    Of the hidden states all keep `channels`. A head keeps its own strongest dimensions, by the rows of q, k and v that
    are left; a feed-forward its strongest neurons, by the rows of wi. In order, so that a reduction of 1 is a copy.
    """
    for number, own in side.block.items():
        given = stack.block[int(number)]
        with gathered(list(given.parameters())):
            for narrow, wide in zip(own.layer, given.layer, strict=True):
                _put(narrow.layer_norm, wide.layer_norm.weight[channels])
                for name, module in wide.named_children():
                    if name in _LAST:
                        groups = stack.config.num_heads if _LAST[name] == "o" else 1
                        _cut(getattr(narrow, name), module, _LAST[name], groups, channels, scores)
    with gathered(stack.final_layer_norm.weight):
        _put(side.final_layer_norm, stack.final_layer_norm.weight[channels])
    _copy_relative_bias(side, stack)


@torch.no_grad()
def draw(side: SideStack, stack: nn.Module, generator: Generator | None) -> None:
    """Start as a new T5 of that size: matrices N(0, 1 / in), those of queries over sqrt(d_kv) more, norms at 1."""
    for path, module in side.block.named_modules():
        name = path.rpartition(".")[2]
        if isinstance(module, nn.Linear):
            shape, heads = module.weight.shape, stack.config.num_heads
            std = shape[1] ** -0.5 * ((shape[0] // heads) ** -0.5 if name == "q" else 1)
            _put(module, torch.empty(shape).normal_(std=std, generator=generator))
        elif name == "layer_norm":
            _put(module, torch.ones(module.weight.shape))
    _put(side.final_layer_norm, torch.ones(side.final_layer_norm.weight.shape))
    _copy_relative_bias(side, stack)


def strongest(scores: Float[Tensor, " size"], groups: int, keep: int) -> Kept:
    """The places of the `keep` greatest scores of each of so many equal groups, in order."""
    grouped = scores.view(groups, -1)
    places = grouped.topk(keep, dim=1).indices.sort(dim=1).values
    return (places + torch.arange(groups, device=scores.device).unsqueeze(1) * grouped.shape[1]).flatten()


def _cut(narrow: nn.Module, wide: nn.Module, last: str, groups: int, channels: Kept, scores: Scores) -> None:
    """Of the maps that read the hidden states, then of `last`, which writes them."""
    readers = [name for name, each in wide.named_children() if isinstance(each, nn.Linear) and name != last]
    found = sum(scores(getattr(wide, name).weight)[:, channels].sum(1) for name in readers)
    rows = strongest(found, groups, getattr(narrow, last).in_features // groups)
    for name in readers:
        _put(getattr(narrow, name), getattr(wide, name).weight[rows][:, channels])
    _put(getattr(narrow, last), getattr(wide, last).weight[channels][:, rows])


def _copy_relative_bias(side: SideStack, stack: nn.Module) -> None:
    """The table of the frozen stack's layer 0, into the side's first block."""
    table = stack.block[0].layer[0].SelfAttention.relative_attention_bias
    with gathered(table.weight):
        _put(side.block[side.first].layer[0].SelfAttention.relative_attention_bias, table.weight)


def _put(module: nn.Module, weight: Tensor) -> None:
    module.weight = nn.Parameter(weight.detach().to(torch.float32, copy=True))
