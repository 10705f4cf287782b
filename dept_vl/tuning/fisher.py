"""How much each weight of a frozen model matters for a task: its empirical Fisher information, as LST's code has it.

    F(w) = mean over examples of (d nats / d w)^2

with the gradient of each example alone, squared before it is averaged, and without dropout.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from dept_vl.tuning.contract import BadTuning, Frozen

Example = tuple[Tensor, Tensor, Tensor]
"""ids [1, seq], mask [1, seq] and labels [1, target] of a text and its answer."""

EXAMPLES = 1024  # that the reference takes


def fisher(backbone: Frozen, examples: Iterable[Example]) -> dict[nn.Parameter, Tensor]:
    """By weight, in fp32. The model is left frozen and in the mode it was in.

    Raises: BadTuning for no example at all, and for weights that are kept in parts.
    """
    model, count = backbone.model, 0
    weights = list(model.parameters())
    if any(hasattr(weight, "ds_id") for weight in weights):
        raise BadTuning("Fisher information: wanted whole frozen weights, given parts of them (ZeRO-3)")
    found = {weight: torch.zeros_like(weight, dtype=torch.float32) for weight in weights}
    training = model.training
    model.eval().requires_grad_(True)
    try:
        for ids, mask, labels in examples:
            with torch.enable_grad():
                nats = backbone.loss(backbone.embed(ids), mask, labels).sum()
            for weight, gradient in zip(weights, torch.autograd.grad(nats, weights, allow_unused=True), strict=True):
                if gradient is not None:
                    found[weight] += gradient.float().square()
            count += 1
    finally:
        model.requires_grad_(False).train(training)
    if not count:
        raise BadTuning("Fisher information: wanted at least one example, given none")
    return {weight: squares / count for weight, squares in found.items()}
