"""Adapters generated for a task: which task each row has, and what is kept of them while nothing trains."""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

from dept_vl.tuning.drawn import version
from dept_vl.tuning.generated import Generated, apply_generated

EMBEDDING = 64
"""The width of a task's embedding."""

Weights = tuple[Tensor, ...]
"""Of adapters: those of their bottlenecks, as in `Generated`, then gain and bias [some, d_model] of the norms."""

_gelu = partial(F.gelu, approximate="tanh")


class Tasks:
    """The tasks' embeddings, and which task each row of the batch at hand has. present: those in it, in order. rows:
    the place in `present` of each row; None where all have the same."""

    def __init__(self, num_tasks: int, generator: Generator | None) -> None:
        self.embedding = nn.Parameter(torch.empty(num_tasks, EMBEDDING).normal_(generator=generator))
        self.present: tuple[int, ...] = (0,)
        self.rows: Tensor | None = None

    def take(self, tasks: Tensor | None) -> None:
        """Raises: ValueError for tasks that there are not, and for rows of several tasks that do not name theirs."""
        if tasks is None and len(self.embedding) > 1:
            raise ValueError(
                f"HyperFormer of {len(self.embedding)} tasks: wanted each row's task, given none: the folder of a task "
                "below the run's serves that task alone"
            )
        present, rows = ([0], None) if tasks is None else _distinct(tasks)
        if wrong := [each for each in present if not 0 <= each < len(self.embedding)]:
            raise ValueError(f"HyperFormer: wanted tasks from 0 to below {len(self.embedding)}, given {wrong[0]}")
        self.present, self.rows = tuple(present), rows if len(present) > 1 else None

    def for_rows(self, number: int) -> Tensor:
        """`rows` for a pass over so many rows: a search reads several beams of each, one behind the other."""
        beams, rest = divmod(number, len(self.rows))
        if rest:
            raise ValueError(f"HyperFormer: wanted the {len(self.rows)} rows whose tasks were given, given {number}")
        return self.rows.repeat_interleave(beams)


def _distinct(tasks: Tensor) -> tuple[list[int], Tensor]:
    present, rows = tasks.unique(return_inverse=True)
    return present.tolist(), rows


class GeneratedAdapter:
    """The adapter at one place. kept: the weights of each task, without gradient, while no weight changes."""

    def __init__(self, tasks: Tasks, controller: nn.Module, layer: int, kind: int) -> None:
        self.tasks, self.controller, self.place = tasks, controller, (layer, kind)
        self.kept: dict[int, Weights] = {}
        self._version = 0

    def __call__(self, hidden: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch seq d_model"]:
        weights = self._weights()
        if self.tasks.rows is not None:
            rows = self.tasks.for_rows(len(hidden))
            weights = tuple(each[rows] for each in weights)
        *bottleneck, gain, bias = weights
        raw = apply_generated(hidden, Generated(*bottleneck), _gelu)
        normed = F.layer_norm(raw, raw.shape[-1:]) * gain.unsqueeze(1) + bias.unsqueeze(1)
        return hidden + normed.to(hidden.dtype)

    def _weights(self) -> Weights:
        """Of the tasks that are present, in order."""
        present = self.tasks.present
        if torch.is_grad_enabled():
            return self._generate(present)
        now = version([self.tasks.embedding, *self.controller.parameters()])
        if now != self._version:
            self.kept.clear()
            self._version = now
        self.kept |= {task: self._generate([task]) for task in present if task not in self.kept}
        if len(present) == 1:
            return self.kept[present[0]]
        return tuple(map(torch.cat, zip(*(self.kept[task] for task in present), strict=True)))

    def _generate(self, tasks: Sequence[int]) -> Weights:
        embedding = self.tasks.embedding
        with torch.autocast(embedding.device.type, enabled=False):
            return self.controller(torch.stack([embedding[task] for task in tasks]), *self.place)
