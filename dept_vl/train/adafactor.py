"""Adafactor with given learning rates. Shazeer and Stern, ICML 2018, arXiv:1804.04235, algorithm 4.

    V_t = b_t V_(t-1) + (1 - b_t) (G_t^2 + 1e-30),   b_t = 1 - t^-0.8
    U_t = G_t / sqrt(V_t),   W_t = W_(t-1) - lr (U_t / max(1, rms(U_t)) + weight_decay W_(t-1))

where a weight of two or more dimensions keeps of V the means of its rows and of its columns alone, R [rows] and C
[columns], and V = R C / mean(R). There is no first moment, and neither the relative step size nor the scaling by the
weight's own size: Lester et al. 2021, FPT and SMoP train prompts so. transformers' Adafactor has the same numbers with
scale_parameter and relative_step off; torch's cannot turn them off.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

DECAY = 0.8
EPS = 1e-30


class Adafactor(torch.optim.Optimizer):
    """groups: with a "lr" and the weights as "params", as torch's optimizers take them."""

    def __init__(self, groups: Iterable[Mapping[str, Any]], *, weight_decay: float = 0.0) -> None:
        super().__init__([dict(group) for group in groups], {"weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    update = scaled(weight.grad, self.state[weight])
                    weight.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=group["lr"])
        return loss


def scaled(gradient: Float[Tensor, "..."], state: dict[str, Any]) -> Float[Tensor, "..."]:
    """The clipped U_t of a weight; its averages in `state` move on by a step."""
    state["step"] = state.get("step", 0) + 1
    decay = 1 - state["step"] ** -DECAY
    squares = gradient.square() + EPS
    if gradient.ndim < 2:
        update = gradient * moved(state, "exp_avg_sq", squares, decay).rsqrt()
    else:
        rows = moved(state, "exp_avg_sq_row", squares.mean(dim=-1), decay)
        columns = moved(state, "exp_avg_sq_col", squares.mean(dim=-2), decay)
        rows = rows / rows.mean(dim=-1, keepdim=True)
        update = gradient * rows.rsqrt().unsqueeze(-1) * columns.rsqrt().unsqueeze(-2)
    return update / update.square().mean().sqrt().clamp(min=1)


def moved(state: dict[str, Any], name: str, new: Float[Tensor, "..."], decay: float) -> Float[Tensor, "..."]:
    """The running average `name` of `state`, after it took in `new`."""
    if name not in state:
        state[name] = torch.zeros_like(new)
    return state[name].mul_(decay).add_(new, alpha=1 - decay)
