"""Where the columns and pads of each row stand: the one place that moves embeddings and their mask."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dept_vl.backbones.frozen import Embeds, Mask

Embedded = tuple[Embeds, Mask]
"""What the frozen model reads: embeddings, and a mask that is 1 at a real token."""


def joined(pieces: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Columns side by side, each piece behind the one before it."""
    embeds, masks = zip(*pieces, strict=True)
    return torch.cat(embeds, dim=1), torch.cat(masks, dim=1)


def stacked(parts: Sequence[tuple[Tensor, Tensor]], order: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of several parts, padded behind to the longest row, in an order of all of them."""
    longest = max(int((mask != 0).sum(1).max()) for _, mask in parts)
    embeds = [F.pad(each, (0, 0, 0, longest - each.shape[1])) for each, _ in parts]  # a negative pad cuts pads off
    masks = [F.pad(mask, (0, longest - mask.shape[1])) for _, mask in parts]
    return torch.cat(embeds)[order], torch.cat(masks)[order]


def pads_last(embeds: Embeds, mask: Mask) -> Embedded:
    """Each row's real tokens in order, then its pads. T5's relative bias counts columns, so a pad between text and
    visual tokens would change the logits; behind everything it is only masked."""
    return _in_order(embeds, mask, (mask == 0).to(torch.uint8))


def pads_behind_prompt(embeds: Embeds, mask: Mask, prompt_length: int = 0) -> Embedded:
    """Each row's prompt, its pads, then its other real tokens in order: no row ends in a pad."""
    real = (mask != 0).to(torch.uint8)
    real[:, :prompt_length] = 0  # sorts in front of everything, in its own order
    return _in_order(embeds, mask, real)


def _in_order(embeds: Embeds, mask: Mask, keys: Mask) -> tuple[Embeds, Mask]:
    """Columns by their keys, 0 before 1, equal keys in the order they had. Counting gives that order; a stable sort
    would, too, but ONNX has none. Whole rows of one long table are picked: `gather` would read an index for every
    number, and its backward pass would add every number on its own."""
    rows, columns, width = embeds.shape
    last = keys.long()
    first = 1 - last
    to = torch.where(last == 1, first.sum(1, keepdim=True) + last.cumsum(1), first.cumsum(1)) - 1  # [batch, out]
    order = torch.zeros_like(to).scatter(1, to, torch.arange(columns, device=to.device).expand_as(to))
    places = order + columns * torch.arange(rows, device=order.device).unsqueeze(1)
    moved = embeds.reshape(rows * columns, width).index_select(0, places.flatten())
    return moved.view(rows, columns, width), mask.gather(1, order)
