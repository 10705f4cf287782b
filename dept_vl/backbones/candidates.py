"""Choose among label strings as greedy decoding restricted to them would.

The candidates' tokens form a tree. Where a node has one child the token is forced; only where it has several must the
model be asked, and there the child with the greatest logit is taken. All these places are read off one forward pass:
the beginnings that lead to them are the tree's `prefixes`, and places on one path share one of those. Labels that
differ in their first token need no beginning at all: one position of the decoder.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from dept_vl.backbones.frozen import Backbone, Embeds, Mask, NextLogits
from dept_vl.backbones.image_cache import SharedImages

MAX_LOGITS = 1 << 26
"""Values that one forward pass may return: 0.25 GiB as fp32, and as much again while it stacks them."""


class BadCandidates(ValueError):
    """Label strings that are empty, equal, or one the beginning of another."""


class _Fork(NamedTuple):
    """A place with several next tokens: those before it, and for each next one where it leads."""

    beginning: tuple[int, ...]
    goals: dict[int, int]


class CandidateTree:
    """The tokens of each candidate, end-of-sequence included, as a tree. `len(tree)` is their number.

    `prefixes` [path, prefix]: the beginnings after which the model must be asked, right-padded with 0.

    Raises: BadCandidates: no candidate, an empty one, two alike, or one that ends where another goes on.
    """

    def __init__(self, rows: Sequence[Sequence[int]]) -> None:
        self.rows = [tuple(map(int, row)) for row in rows]
        _check(self.rows)
        self._forks: list[_Fork] = []
        self._start = self._grow(range(len(self.rows)), 0)
        beginnings = [fork.beginning for fork in self._forks]
        paths = [each for each in beginnings if not any(_goes_on(other, each) for other in beginnings)]
        longest = max(map(len, paths), default=0)
        padded = [[*path, *[0] * (longest - len(path))] for path in paths]
        self.prefixes = torch.tensor(padded, dtype=torch.int64).reshape(len(paths), longest)
        self._path_of = [
            next(place for place, path in enumerate(paths) if path[: len(each)] == each) for each in beginnings
        ]

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, logits: NextLogits) -> Integer[Tensor, " batch"]:
        """The candidate of each row, from `Backbone.next_token_logits` after `prefixes`."""
        goal = torch.full(logits.shape[:1], self._start, device=logits.device)  # [batch], a fork or ~candidate
        # in the order of growth a fork stands behind the one that leads to it, so one pass goes down every path
        for number, (fork, path) in enumerate(zip(self._forks, self._path_of, strict=True)):
            tokens, goals = torch.tensor([list(fork.goals), list(fork.goals.values())], device=logits.device)
            best = logits[:, path, len(fork.beginning)].index_select(1, tokens).argmax(1)  # [batch]
            goal = torch.where(goal == number, goals[best], goal)
        return ~goal

    def log_probabilities(self, logits: NextLogits) -> Float[Tensor, "batch candidate"]:
        """Nats, from the same logits: of each candidate those of its token at every fork on its way, where the softmax
        is over the tokens with which candidates go on. Their exponentials sum to 1 in each row."""
        nats = torch.zeros(len(logits), len(self.rows), device=logits.device)
        for fork, path in zip(self._forks, self._path_of, strict=True):
            depth, column = len(fork.beginning), {token: place for place, token in enumerate(fork.goals)}
            tokens = torch.tensor(list(fork.goals), device=logits.device)
            shares = logits[:, path, depth].float().index_select(1, tokens).log_softmax(1)  # [batch, next]
            for place, row in enumerate(self.rows):
                if row[:depth] == fork.beginning:
                    nats[:, place] += shares[:, column[row[depth]]]
        return nats

    def _grow(self, rows: Sequence[int], depth: int) -> int:
        """Where candidates lead that agree in their first `depth` tokens: the number of the fork at which they part,
        or ~index of the only one."""
        if len(rows) == 1:
            return ~rows[0]
        while len({self.rows[row][depth] for row in rows}) == 1:
            depth += 1
        number, fork = len(self._forks), _Fork(self.rows[rows[0]][:depth], {})
        self._forks.append(fork)
        # by ascending id, so that of equal logits the lowest id is taken, as argmax over the whole vocabulary does
        for token in sorted({self.rows[row][depth] for row in rows}):
            fork.goals[token] = self._grow([row for row in rows if self.rows[row][depth] == token], depth + 1)
        return number


@torch.no_grad()
def choose(
    backbone: Backbone,
    embeds: Embeds,
    mask: Mask,
    tree: CandidateTree,
    *,
    prompt_length: int = 0,
    images: SharedImages | None = None,
) -> Integer[Tensor, " batch"]:
    """The index of the candidate that greedy decoding restricted to the tree gives each row.

    `rows_at_once` go through the model together.
    """
    if not len(tree.prefixes):  # a single candidate
        return torch.zeros(len(embeds), dtype=torch.int64, device=embeds.device)
    rows = rows_at_once(backbone, tree)
    ask = functools.partial(backbone.next_token_logits, prefixes=tree.prefixes, prompt_length=prompt_length)
    parts = [slice(start, start + rows) for start in range(0, len(embeds), rows)]
    shared = [None if images is None else images._replace(keys=images.keys[part]) for part in parts]
    pairs = zip(parts, shared, strict=True)
    return torch.cat([tree.read(ask(embeds[part], mask[part], images=own)) for part, own in pairs])


def rows_at_once(backbone: Backbone, tree: CandidateTree) -> int:
    """How many rows keep the logits within `MAX_LOGITS` values."""
    paths, length = tree.prefixes.shape
    return max(1, MAX_LOGITS // (max(paths, 1) * (length + 1) * backbone.vocabulary))


def _goes_on(longer: tuple[int, ...], prefix: tuple[int, ...]) -> bool:
    return len(longer) > len(prefix) and longer[: len(prefix)] == prefix


def _check(rows: Sequence[tuple[int, ...]]) -> None:
    if not rows:
        raise BadCandidates("wanted at least one candidate, given none")
    seen: dict[tuple[int, ...], int] = {}
    for place, row in enumerate(rows):
        if not row:
            raise BadCandidates(f"candidate {place}: wanted at least one token, given none")
        if row in seen:
            raise BadCandidates(f"candidates {seen[row]} and {place}: wanted different tokens, given {list(row)} twice")
        seen[row] = place
    for place, row in enumerate(rows):
        for length in range(1, len(row)):
            if row[:length] in seen:
                raise BadCandidates(
                    f"candidate {seen[row[:length]]} ({list(row[:length])}) ends where candidate {place} ({list(row)}) "
                    "goes on: wanted the end-of-sequence token behind each"
                )
