"""Examples to batches: length buckets, target draws, features by image.

A training batch is a function of (seed, its number): which examples it holds and which target each of them draws.
So a run resumes by starting at a number, and two processes that read halves of a batch see what one would.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.utils.data import Dataset

from dept_vl.batch import Batch
from dept_vl.data.carried import Loss, measure_table
from dept_vl.data.text import Kind, encode_targets, tokenise, tokenise_targets
from dept_vl.data.token_table import Rows, TokenTable
from dept_vl.data.tokenizer import Tokenizer, pad_id
from dept_vl.tasks.example import Example

_WHOLE = 1 << 30  # tokens: more than any text has
_STRETCH = 400  # batches sorted together by length = 400 / length_step: finer steps need more of them to fill
NO_LABEL = -100
FILLER = None  # the id of a row that only fills up a batch

Gather = Callable[[Sequence[str]], Float[Tensor, "batch patch width"]]
"""Features of images by key: a store's `gather`, or a resident table's."""


class Encoded(ABC):
    """Tokenised examples as training reads them: of one task (`EncodedExamples`) or of a mixture.

    losses: what of the different sources and targets the tokenizer does not carry.
    """

    losses: Mapping[str, Loss]

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    @abstractmethod
    def source_lengths(self) -> np.ndarray:
        """Tokens of each row's source."""

    @property
    def settings(self) -> dict[str, Any]:
        """What a resumed run must have in common beside what `TrainingBatches` knows."""
        return {}

    @property
    @abstractmethod
    def counts(self) -> dict[str, int]:
        """What was cut and what is not carried."""

    @abstractmethod
    def visits(self, seed: int, epoch: int) -> np.ndarray:
        """The rows that an epoch of training visits, in any order; as many in every epoch."""

    def drawn(self, seed: int, epoch: int, shape: tuple[int, int]) -> np.ndarray | None:
        """The rows of every batch of an epoch, [batches, batch_size], where they are drawn batch by batch; None where
        what an epoch visits is put into batches by length."""
        return None

    @abstractmethod
    def collate(self, rows: Rows, gather: Gather | None, draws: np.ndarray | None = None) -> Batch:
        """A batch of these rows; `draws` in [0, 1) pick a target each, None leaves labels out."""


class TooFewExamples(ValueError):
    """No example to make a batch of."""


class EncodedExamples(Encoded):
    """Examples with their text tokenised once. Targets of all examples share one table."""

    def __init__(
        self,
        examples: Sequence[Example],
        tokenizer: Tokenizer,
        *,
        kind: Kind = "seq2seq",
        max_source_length: int,
        max_target_length: int,
        trained: bool = True,
        task: int | None = None,
        own_cue: bool = False,
    ) -> None:
        """`kind` is the backbone's, seq2seq or causal: what stands around a text, and whether a target may be cut.
        Targets of examples that are not `trained` on may always be cut: they enter no loss. `task`: the place of their
        task in the mixture that trains, which every batch then names. `own_cue`: see `tokenise`.

        Raises: MissingPadToken, SlowTokenizer, WrongTokenizer, NoRoom, TooLongTarget.
        """
        self.examples, self.task = list(examples), task
        self.pad_token_id = pad_id(tokenizer)
        place: dict[Hashable, int] = {}  # what differs to its row, in the order in which it first comes
        sources = ((example.source, example.context, example.frame) for example in self.examples)
        self.source_rows = np.fromiter((place.setdefault(each, len(place)) for each in sources), np.int64)
        texts, contexts, frames = zip(*place, strict=True) if place else ((), (), ())
        facts = {"kind": kind, "own_cue": own_cue}
        self.sources = tokenise(tokenizer, texts, max_source_length, contexts=contexts, frames=frames, **facts)
        answers = sorted({target for example in self.examples for target in example.targets})
        self.targets = tokenise_targets(
            tokenizer, answers, max_target_length, kind=kind, may_cut=kind == "seq2seq" or not trained
        )
        frame = tokenise(tokenizer, [""], _WHOLE, kind=kind, own_cue=own_cue)[0]
        self.losses = {
            "sources": measure_table(tokenizer, texts, self.sources, frame),
            "targets": measure_table(tokenizer, answers, self.targets, encode_targets(tokenizer, [""], kind)[0]),
        }
        place = {text: row for row, text in enumerate(answers)}
        self._target_rows = TokenTable([place[target] for target in example.targets] for example in self.examples)

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def source_lengths(self) -> np.ndarray:
        return self.sources.lengths[self.source_rows]

    @property
    def counts(self) -> dict[str, int]:
        """How many different sources and targets were cut to their greatest length; contexts_cut are the sources that
        lost tokens of their context only, beyond_context_cut those whose context did not suffice. Then how many have
        unknown tokens, and how many of those that were read back came back altered (see `data.carried`)."""
        return {
            "sources_cut": self.sources.counts["cut"],
            "contexts_cut": self.sources.counts["context_cut"],
            "beyond_context_cut": self.sources.counts["beyond_context_cut"],
            "targets_cut": self.targets.counts["cut"],
            **{f"{what}_unknown": loss.unknown for what, loss in self.losses.items()},
            **{f"{what}_altered": loss.altered for what, loss in self.losses.items()},
        }

    def visits(self, seed: int, epoch: int) -> np.ndarray:
        """As often as each example says, whatever the epoch."""
        return np.repeat(np.arange(len(self)), [example.visits for example in self.examples])

    def collate(self, rows: Rows, gather: Gather | None, draws: np.ndarray | None = None) -> Batch:
        ids = torch.from_numpy(self.sources.padded(self.source_rows[rows], self.pad_token_id))
        lengths = torch.from_numpy(self.sources.lengths[self.source_rows[rows]])
        mask = (torch.arange(ids.shape[1]) < lengths.unsqueeze(1)).long()  # [batch, seq]
        labels = None
        if draws is not None:
            targets = [self._draw(row, draw) for row, draw in zip(rows, draws, strict=True)]
            labels = torch.from_numpy(self.targets.padded(targets, NO_LABEL))
        features = gather([self.examples[row].image for row in rows]) if gather is not None else None
        tasks = None if self.task is None else torch.full((len(rows),), self.task)
        names = tuple(self.examples[row].id for row in rows)
        covered = self._covered(rows, ids.shape[1])
        return Batch(ids, mask, labels, features, names, right_padded=True, tasks=tasks, covered=covered)

    def _covered(self, rows: Rows, seq: int) -> Integer[Tensor, "batch {seq}"] | None:
        """1 at the tokens of each row's own text, where a chat template stands around it."""
        if self.sources.spans is None:
            return None
        first, end = torch.from_numpy(self.sources.spans[self.source_rows[rows]]).unsqueeze(2).unbind(1)  # [batch, 1]
        places = torch.arange(seq)
        return ((places >= first) & (places < end)).long()

    def _draw(self, row: int | np.integer, draw: float) -> int:
        edges = np.cumsum(self.examples[row].weights)
        choice = min(int(np.searchsorted(edges, draw, side="right")), len(edges) - 1)
        return int(self._target_rows[row][choice])


class TrainingBatches(Dataset[Any]):
    """Batch number n of an endless training run, for n = 0, 1, ...: this process's share of it.

    An epoch makes its visits (as often as each example says; in a mixture as the tasks are sampled) in an order drawn
    from (seed, epoch). Within stretches of batches examples are sorted by length, so that a batch pads little; the
    batches' order is drawn again. What does not fill the last batch of an epoch is filled up from its first visits.
    """

    def __init__(
        self,
        encoded: Encoded,
        gather: Gather | None,
        *,
        batch_size: int,
        seed: int,
        length_step: int = 2,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """`length_step`: lengths in tokens that count as equal; a larger one mixes a batch more and pads it more.
        `batch_size` counts the whole batch over all `world` processes; this one reads rows rank::world of it."""
        if not len(encoded):
            raise TooFewExamples("wanted at least one training example, given none")
        if batch_size % world:
            raise ValueError(f"wanted a batch that divides among {world} processes, given {batch_size} rows")
        self.encoded, self.gather = encoded, gather
        self.batch_size, self.seed, self.rank, self.world = batch_size, seed, rank, world
        self.length_step = length_step
        self._visits = max(len(encoded.visits(seed, 0)), batch_size)
        self.batches_per_epoch = -(-self._visits // batch_size)
        self._epoch: tuple[int, np.ndarray] | None = None  # the number of the last epoch asked for, and its rows

    @property
    def settings(self) -> dict[str, Any]:
        """What decides which rows a batch number stands for; a resumed run must have the same."""
        return {
            "seed": self.seed,
            "batch_size": self.batch_size,
            "visits": self._visits,
            "length_step": self.length_step,
            **self.encoded.settings,
        }

    def __getitem__(self, number: int) -> Batch:
        epoch, place = divmod(number, self.batches_per_epoch)
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = epoch, self._make_epoch(epoch)
        rows = self._epoch[1][place]
        draws = np.random.default_rng([self.seed, 1, number]).random(self.batch_size)
        return self.encoded.collate(rows[self.rank :: self.world], self.gather, draws[self.rank :: self.world])

    def _make_epoch(self, epoch: int) -> np.ndarray:
        """Example rows of every batch of an epoch, [batches, batch_size]."""
        drawn = self.encoded.drawn(self.seed, epoch, (self.batches_per_epoch, self.batch_size))
        if drawn is not None:
            return drawn
        rng = np.random.default_rng([self.seed, 0, epoch])
        order = rng.permutation(np.resize(self.encoded.visits(self.seed, epoch), self._visits))
        order = np.concatenate([order, order[: self.batches_per_epoch * self.batch_size - len(order)]])
        lengths = -(-self.encoded.source_lengths // self.length_step)
        stretch = max(1, _STRETCH // self.length_step) * self.batch_size
        for start in range(0, len(order), stretch):
            part = order[start : start + stretch]
            order[start : start + stretch] = part[np.argsort(lengths[part], kind="stable")]
        return rng.permutation(order.reshape(self.batches_per_epoch, self.batch_size), axis=0)


def single_examples(
    encoded: Sequence[EncodedExamples], number: int, seed: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """ids, mask and labels of `number` examples drawn from all of `encoded`, or of all where there are fewer, one by
    one. Texts alone."""
    rows = [(each, row) for each in encoded for row in range(len(each))]
    rng = np.random.default_rng([seed, 6])
    for place in rng.permutation(len(rows))[:number]:
        each, row = rows[place]
        batch = each.collate([row], None, rng.random(1)).to(device)
        yield batch.input_ids, batch.mask, batch.labels


def evaluation_batches(
    encoded: EncodedExamples,
    gather: Gather | None,
    *,
    batch_size: int,
    rank: int = 0,
    world: int = 1,
    by_image: bool = False,
) -> Iterator[Batch]:
    """Every example exactly once over all processes, longest first, without labels.

    All processes get as many batches with as many rows: where the examples do not divide, a row that fills up has
    `FILLER` for its id. by_image: rows about one image follow one another on one process and name it, where any two do;
    the images come by their longest row.
    """
    order = np.argsort(-encoded.source_lengths, kind="stable")
    images = [each.image for each in encoded.examples] if by_image else []
    if by_image := len(set(images)) < len(images):
        first: dict[str | None, int] = {}
        order = order[np.argsort([first.setdefault(images[row], len(first)) for row in order], kind="stable")]
    order = np.concatenate([order, np.repeat(order[-1:], -len(order) % world)])
    places = np.arange(len(order))
    places = places.reshape(world, -1)[rank] if by_image else places[rank::world]
    for start in range(0, len(places), batch_size):
        own = places[start : start + batch_size]
        batch = encoded.collate(order[own], gather)
        real = [id if place < len(encoded) else FILLER for id, place in zip(batch.ids, own, strict=True)]
        seen = tuple(images[row] for row in order[own]) if by_image else None
        yield dataclasses.replace(batch, ids=tuple(real), images=seen)
