"""Where the pads of each row stand: the one place that moves columns of embeddings and their mask."""

import torch

from dept_vl.backbones.frozen import Embeds, Mask


def pads_last(embeds: Embeds, mask: Mask) -> tuple[Embeds, Mask]:
    """Each row's real tokens in order, then its pads. T5's relative bias counts columns, so a pad between text and
    visual tokens would change the logits; behind everything it is only masked."""
    return _in_order(embeds, mask, (mask == 0).to(torch.uint8))


def pads_behind_prompt(embeds: Embeds, mask: Mask, prompt_length: int = 0) -> tuple[Embeds, Mask]:
    """Each row's prompt, its pads, then its other real tokens in order: no row ends in a pad."""
    real = (mask != 0).to(torch.uint8)
    real[:, :prompt_length] = 0  # sorts in front of everything, in its own order
    return _in_order(embeds, mask, real)


def _in_order(embeds: Embeds, mask: Mask, keys: Mask) -> tuple[Embeds, Mask]:
    """Columns by their keys, equal keys in the order they had. Whole rows of one long table are picked: `gather` would
    read an index for every number, and its backward pass would add every number on its own."""
    rows, columns, width = embeds.shape
    order = keys.argsort(dim=1, stable=True)  # [batch, out]
    places = order + columns * torch.arange(rows, device=order.device).unsqueeze(1)
    moved = embeds.reshape(rows * columns, width).index_select(0, places.flatten())
    return moved.view(rows, columns, width), mask.gather(1, order)
