"""A mixture of tasks as one training set: an index space over their examples, whose order is drawn from the seed.

    by size         p_k ~ min(n_k, limit)                       T5's examples-proportional mixing (Raffel et al. 2020)
    by temperature  p_k ~ min(n_k, limit) ** (1 / temperature)  the same paper; T = 10 in HyperFormer's recipe
    evenly          p_k = 1 / tasks

n_k counts a task's visits, one an example but for captions. An epoch has sum(min(n_k, limit)) visits, and task k has
its share p_k of them, rounded: the proportions are exact in every epoch, not only on average. A task's visits go
through its own examples pass by pass and go on where the last epoch ended: one that is drawn seldom sees them all too.

With `tasks_per_batch` [least, most] the tasks of each batch are drawn instead: so many as are drawn evenly from least
to most, each with probability p_k and with replacement; they get equal parts of the batch, and one of them the rest.
That is MPT's stochastic sampling, with 2 and the number of tasks; with 1 and 1 it is HyperFormer's. A task's rows go
through its own examples pass by pass, beginning anew in each epoch.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Integer
from torch import Tensor

from dept_vl.batch import Batch
from dept_vl.data.batches import NO_LABEL, Encoded, EncodedExamples, Gather
from dept_vl.data.token_table import Rows
from dept_vl.tasks.example import Example

By = Literal["size", "temperature", "even"]


def shares(
    sizes: Sequence[int], by: By = "size", *, temperature: float = 10.0, limit: int | None = None
) -> list[float]:
    """How often each task is drawn, as fractions that sum to 1; `sizes` are the tasks' numbers of visits."""
    weights = np.minimum(np.array(sizes, dtype=np.float64), np.inf if limit is None else limit)
    weights **= {"size": 1.0, "temperature": 1 / temperature, "even": 0.0}[by]
    return (weights / weights.sum()).tolist()


class MixedExamples(Encoded):
    """The examples of several tasks, one after another. Row numbers count through all of them."""

    def __init__(
        self,
        members: Mapping[str, EncodedExamples],
        by: By = "size",
        *,
        temperature: float = 10.0,
        limit: int | None = None,
        tasks_per_batch: tuple[int, int] | None = None,
    ) -> None:
        """`members` by the name of their task, each encoded with its place here as its `task`."""
        self.names, self._members = list(members), list(members.values())
        self.losses = {f"{name}: {what}": loss for name, each in members.items() for what, loss in each.losses.items()}
        self._starts = np.cumsum([0, *map(len, self._members)])
        self._own = [each.visits(0, 0) for each in self._members]  # a member's are the same in every epoch
        sizes = [len(each) for each in self._own]
        self.shares = shares(sizes, by, temperature=temperature, limit=limit)
        self.tasks_per_batch = tasks_per_batch
        self.per_epoch = _whole_shares(self.shares, sum(min(size, limit or size) for size in sizes))

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def examples(self) -> list[Example]:
        return [example for each in self._members for example in each.examples]

    @property
    def source_lengths(self) -> np.ndarray:
        return np.concatenate([each.source_lengths for each in self._members])

    @property
    def counts(self) -> dict[str, int]:
        """Summed over the tasks."""
        counts = [each.counts for each in self._members]
        return {name: sum(each[name] for each in counts) for name in counts[0]}

    @property
    def settings(self) -> dict[str, Any]:
        """What decides, beside the seed, which rows an epoch visits."""
        found = {"tasks": self.names, "examples": list(map(len, self._members)), "visits_of_tasks": self.per_epoch}
        return found if self.tasks_per_batch is None else {**found, "tasks_per_batch": list(self.tasks_per_batch)}

    def visits(self, seed: int, epoch: int) -> np.ndarray:
        """The rows that an epoch visits: of each task the next `per_epoch` of its endless run of passes."""
        return np.concatenate(
            [
                self._starts[task] + self._stretch(task, seed, epoch * number, (epoch + 1) * number)
                for task, number in enumerate(self.per_epoch)
            ]
        )

    def drawn(self, seed: int, epoch: int, shape: tuple[int, int]) -> np.ndarray | None:
        """The tasks of a batch stand one behind the other."""
        if self.tasks_per_batch is None:
            return None
        rng, (batches, size) = np.random.default_rng([seed, 4, epoch]), shape
        counts = np.array([self._draw_tasks(rng, size) for _ in range(batches)])  # [batches, tasks]
        tasks = np.repeat(np.tile(np.arange(len(self._members)), batches), counts.flatten()).reshape(shape)
        rows = np.empty(shape, dtype=np.int64)
        for task, own in enumerate(self._own):
            total = int(counts[:, task].sum())
            passes = [rng.permutation(own) for _ in range(-(-total // len(own)))]
            rows[tasks == task] = self._starts[task] + np.concatenate([np.zeros(0, dtype=np.int64), *passes])[:total]
        return rows

    def _draw_tasks(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """How many rows of a batch each task has."""
        least, most = self.tasks_per_batch
        drawn = rng.choice(len(self._members), size=rng.integers(least, most, endpoint=True), p=self.shares)
        counts = np.bincount(drawn, minlength=len(self._members)) * (size // len(drawn))
        counts[rng.choice(drawn)] += size % len(drawn)
        return counts

    def _stretch(self, task: int, seed: int, start: int, end: int) -> np.ndarray:
        """Visits start to end of a task's passes through its own examples, each pass in an order of its own."""
        size = len(self._own[task])
        first, last = start // size, -(-end // size)
        passes = [
            np.random.default_rng([seed, 3, task, number]).permutation(self._own[task]) for number in range(first, last)
        ]
        return np.concatenate([np.zeros(0, dtype=np.int64), *passes])[start - first * size : end - first * size]

    def collate(self, rows: Rows, gather: Gather | None, draws: np.ndarray | None = None) -> Batch:
        """A batch of rows of any tasks, each as its own task makes it; `draws` as `EncodedExamples.collate`."""
        rows = np.asarray(rows)
        tasks = np.searchsorted(self._starts, rows, side="right") - 1
        places = [np.flatnonzero(tasks == task) for task in range(len(self._members))]
        parts = [
            self._members[task].collate(rows[own] - self._starts[task], gather, None if draws is None else draws[own])
            for task, own in enumerate(places)
            if len(own)
        ]
        return _together(parts, torch.from_numpy(np.argsort(np.concatenate(places))), self._members[0].pad_token_id)


def _whole_shares(parts: Sequence[float], total: int) -> list[int]:
    """`total` in these proportions, as whole numbers that sum to it: what is left goes to the largest remainders."""
    exact = np.array(parts) * total
    whole = np.floor(exact + 1e-9).astype(np.int64)
    for task in np.argsort(whole - exact, kind="stable")[: total - int(whole.sum())]:
        whole[task] += 1
    return whole.tolist()


def _together(parts: Sequence[Batch], order: Integer[Tensor, " batch"], pad: int) -> Batch:
    """Rows of several batches as one, padded behind to the longest, in `order`."""
    ids = [name for each in parts for name in each.ids]
    features = [each.features for each in parts]
    return dataclasses.replace(
        parts[0],
        input_ids=_padded([each.input_ids for each in parts], pad)[order],
        mask=_padded([each.mask for each in parts], 0)[order],
        labels=None if parts[0].labels is None else _padded([each.labels for each in parts], NO_LABEL)[order],
        features=None if features[0] is None else torch.cat(features)[order.to(features[0].device)],
        ids=tuple(ids[place] for place in order.tolist()),
        tasks=torch.cat([each.tasks for each in parts])[order],
        covered=None if parts[0].covered is None else _padded([each.covered for each in parts], 0)[order],
    )


def _padded(rows: Sequence[Integer[Tensor, "_ _"]], fill: int) -> Integer[Tensor, "batch longest"]:
    longest = max(each.shape[1] for each in rows)
    return torch.cat([F.pad(each, (0, longest - each.shape[1]), value=fill) for each in rows])
