"""Named parameter groups to an optimizer with a learning rate each, and one schedule over all of them."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from dept_vl.registry import did_you_mean, wanted_one_of
from dept_vl.train.adafactor import Adafactor

OPTIMIZERS = ("adamw", "adafactor")


class BadLearningRates(ValueError):
    """Learning rates that do not name the groups that train."""


def build_optimizer(
    groups: Mapping[str, Sequence[nn.Parameter]],
    learning_rates: Mapping[str, float],
    *,
    name: str = "adamw",
    weight_decay: float,
    betas: tuple[float, float],
    eps: float,
) -> torch.optim.Optimizer:
    """The optimizer of that name over the groups, in order of theirs; each torch group carries its "name". `betas` and
    `eps` are AdamW's.

    `learning_rates` may name groups that this model does not have (one config serves several adapters), but every
    group must have a rate.

    Raises:
        BadLearningRates: a group without a rate, or nothing to train at all.
        ValueError: another name than adamw or adafactor.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"optim.name: {wanted_one_of(OPTIMIZERS, name)}")
    if not groups:
        raise BadLearningRates("wanted at least one group of weights to train, given none: nothing would be learnt")
    for group in groups:
        if group not in learning_rates:
            hint = did_you_mean(group, learning_rates)
            raise BadLearningRates(f"wanted a learning rate for {group!r}, given {dict(learning_rates)}.{hint}")
    named = [{"params": list(groups[each]), "lr": learning_rates[each], "name": each} for each in sorted(groups)]
    if name == "adafactor":
        return Adafactor(named, weight_decay=weight_decay)
    return torch.optim.AdamW(named, betas=betas, eps=eps, weight_decay=weight_decay)


def build_schedule(
    optimizer: torch.optim.Optimizer, *, name: str, max_steps: int, warmup_steps: int | float
) -> torch.optim.lr_scheduler.LambdaLR:
    """Linear warm-up, then "linear" decay to 0 at `max_steps`, or "constant".

    warmup_steps: a number of steps, or a share of `max_steps` when below 1, to the nearest step.

    Raises:
        ValueError: a warm-up as long as the run.
    """
    warm = round(warmup_steps * max_steps) if warmup_steps < 1 else int(warmup_steps)
    if warm >= max_steps:
        raise ValueError(f"warmup_steps: wanted fewer than max_steps={max_steps}, given {warmup_steps}")

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / (warm + 1)
        return 1.0 if name == "constant" else (max_steps - step) / (max_steps - warm)

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
