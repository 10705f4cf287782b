"""A part: what trains beside a frozen model. The network asks its parts; nobody else has to know them.

An adapter is a part at the language model's input, the projection is one between tower and language model.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

State = dict[str, int | float | list[str] | None]


class Part(nn.Module, ABC):
    """A module whose weights all train. `state` is what it must keep beyond them, as plain numbers and hashes."""

    @abstractmethod
    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        """Every weight in exactly one group, no group empty; the names are the keys of optim.lr."""

    def observe(self, longest: int) -> None:
        """Called after training steps with the most text positions that any row has had so far."""

    def state(self) -> State:
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Raises: ValueError for what `state` never gives."""
        if state:
            raise ValueError(f"{type(self).__name__}: wanted no state, given {dict(state)}")

    def for_task(self, task: int) -> "Part":
        """What reads the rows of one task of a mixture as this part does: itself, where it tells no tasks apart."""
        return self

    def diagnostics(self) -> dict[str, float | int]:
        """Numbers worth a place on the log's lines while it trains; most parts have none."""
        return {}


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """No autocast inside: a trained prompt's entries reach 10^2, where bf16 has steps of 0.5. Where none acts, nothing
    is done: torch.export would write a context into the graph and not read it back."""
    if torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()  # on the meta device, for one, there is no autocast


def misfits(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """The weights of `given` that are missing, unknown, or of another shape than in `own`, in words."""
    wrong = [f"no {name}" for name in own if name not in given]
    wrong += [f"unknown {name}" for name in given if name not in own]
    return wrong + [
        f"{name}: wanted {list(weight.shape)}, given {list(given[name].shape)}"
        for name, weight in own.items()
        if name in given and given[name].shape != weight.shape
    ]
