"""How many CPU threads a process computes with where nobody says: the one place that knows of small models."""

import os
from collections.abc import Mapping

import torch
from torch import nn

SMALL = 10_000_000
"""Weights. Of a smaller model an operation is so short that threads wait for one another longer than they compute, and
under a busy neighbour the waiting takes nearly all of the time (docs/decisions.md)."""


def own_threads(environment: Mapping[str, str] = os.environ) -> int | None:
    """An OMP_NUM_THREADS that the user set: above 1, which accelerate launch sets by itself."""
    asked = environment.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) > 1 else None


def fitting_threads(weights: int, device: torch.device) -> int:
    """What the user set; else one for a small model on the CPU, and as many as torch has now for others."""
    small = device.type == "cpu" and weights < SMALL
    return own_threads() or (1 if small else torch.get_num_threads())


def take_fitting_threads(*models: nn.Module, device: torch.device | str) -> None:
    """For a process that answers with these models alone: what fits the largest."""
    weights = max(sum(each.numel() for each in model.parameters()) for model in models)
    torch.set_num_threads(fitting_threads(weights, torch.device(device)))
