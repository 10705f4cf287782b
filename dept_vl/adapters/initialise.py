"""Start vectors for prompts, as [prompt, d_model] fp32 tensors, and the draws of low-rank factors.

Each takes plain tensors and ids: the caller reads the embedding table and tokenises. With `generator=None`
torch's global generator draws. Draws are made where the generator lives, so one seed gives one prompt on
every device.
"""

from collections.abc import Collection, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from dept_vl.registry import wanted_one_of

MOST_FREQUENT = 5000
"""Rows to sample from: the vocabulary is sorted by frequency (Lester et al. 2021, section 3.2)."""


DISTRIBUTIONS = ("uniform", "gaussian")


class BadInit(ValueError):
    """Start vectors that cannot be had from what was given."""


def sample_vocabulary(
    table: Float[Tensor, "vocab d_model"],
    num: int,
    generator: torch.Generator | None = None,
    *,
    most_frequent: int = MOST_FREQUENT,
    exclude: Collection[int] = (),
) -> Float[Tensor, "prompt d_model"]:
    """`num` different rows of the table's first `most_frequent`, without the ids in `exclude` (pad, eos).

    Raises: BadInit when fewer than `num` rows are left to draw from.
    """
    excluded = set(exclude)
    ids = [row for row in range(min(most_frequent, table.shape[0])) if row not in excluded]
    if not 0 <= num <= len(ids):
        raise BadInit(
            f"adapter.args: wanted at most {len(ids)} start rows, those that there are (most_frequent="
            f"{most_frequent}, vocabulary {table.shape[0]}, {len(excluded)} excluded), given {num}"
        )
    order = torch.randperm(len(ids), generator=generator, device=device_of(generator)).tolist()
    return rows_of(table, [ids[i] for i in order[:num]])


def from_tokens(table: Float[Tensor, "vocab d_model"], ids: Sequence[int], num: int) -> Float[Tensor, "prompt d_model"]:
    """The rows of a text's token ids in order, repeated from the start until there are `num`, as PEFT does.

    Raises: BadInit for a text without tokens and for ids outside the table.
    """
    if not len(ids):
        raise BadInit("adapter.start.text: wanted a text of at least one token, given none")
    return rows_of(table, [ids[i % len(ids)] for i in range(num)])


def from_labels(
    table: Float[Tensor, "vocab d_model"],
    label_ids: Sequence[Sequence[int]],
    num: int,
    generator: torch.Generator | None = None,
    *,
    most_frequent: int = MOST_FREQUENT,
    exclude: Collection[int] = (),
) -> Float[Tensor, "prompt d_model"]:
    """One row per class label, the mean of its pieces' rows, then sampled rows (Lester et al. 2021).

    Raises: BadInit for more labels than `num`, for a label without pieces, and as `sample_vocabulary` does.
    """
    if len(label_ids) > num:
        raise BadInit(f"from_labels: wanted at most num={num} labels, given {len(label_ids)}; raise num_virtual_tokens")
    empty = [i for i, pieces in enumerate(label_ids) if not len(pieces)]
    if empty:
        raise BadInit(f"from_labels: wanted at least one token id per label, given none for the labels at {empty}")
    labels = [rows_of(table, pieces).mean(dim=0, keepdim=True) for pieces in label_ids]  # each [1, d_model]
    rest = sample_vocabulary(table, num - len(labels), generator, most_frequent=most_frequent, exclude=exclude)
    return torch.cat([*labels, rest])


def random_rows(
    num: int, d_model: int, generator: torch.Generator | None = None, *, std: float = 1.0
) -> Float[Tensor, "prompt d_model"]:
    """Rows of normal(0, std); std = 1 is what PEFT's RANDOM draws."""
    return torch.randn(num, d_model, generator=generator, device=device_of(generator)) * std


def uniform(
    num_rows: int, num_columns: int, bound: float, generator: torch.Generator | None = None
) -> Float[Tensor, "rows columns"]:
    """uniform(-bound, bound) [num_rows, num_columns]."""
    drawn = torch.rand(num_rows, num_columns, generator=generator, device=device_of(generator))
    return drawn * (2 * bound) - bound


def factor(
    num_rows: int, num_columns: int, bound: float, distribution: str, generator: torch.Generator | None = None
) -> Float[Tensor, "rows columns"]:
    """A low-rank factor [num_rows, num_columns] from uniform(-bound, bound), or Gaussian with the same standard
    deviation, bound / sqrt(3). Raises: BadInit for another distribution."""
    if distribution not in DISTRIBUTIONS:
        raise BadInit(f"init_weights: {wanted_one_of(DISTRIBUTIONS, str(distribution))}")
    if distribution == "gaussian":
        return random_rows(num_rows, num_columns, generator, std=bound * 3**-0.5)
    return uniform(num_rows, num_columns, bound, generator)


def rows_of(table: Float[Tensor, "vocab d_model"], ids: Sequence[int]) -> Float[Tensor, "rows d_model"]:
    outside = [row for row in ids if not 0 <= row < table.shape[0]]
    if outside:
        raise BadInit(f"wanted token ids from 0 to {table.shape[0] - 1}, the table's rows, given {outside[:5]}")
    return table[torch.tensor(list(ids), dtype=torch.long, device=table.device)].detach().float()


def device_of(generator: torch.Generator | None) -> torch.device:
    return torch.get_default_device() if generator is None else generator.device
