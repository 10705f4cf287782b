"""Folded pairs of several adapters read at once, each by its own rows.

    X'_b = [P_i; X_b + S_i[:seq]],   i = the adapter of row b

What each row reads is what its pair alone gives it, to the bit: rows are picked, and nothing is added up in another
order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor

from dept_vl.adapters.contract import (
    Folded,
    OutEmbeds,
    OutMask,
    Pair,
    Text,
    TextEmbeds,
    TextMask,
    apply_pair,
    check_inputs,
    content_rows,
)


@dataclass(frozen=True, eq=False)
class StackedPairs:
    """prompt: of each row. shifts: the pairs' shifts under each other, padded to `length` rows and one of zeros; None
    where no pair has one. index: the pair of each row."""

    prompt: Float[Tensor, "batch prompt d_model"]
    shifts: Float[Tensor, "all_rows d_model"] | None
    length: int
    index: Integer[Tensor, " batch"]

    @property
    def num_virtual_tokens(self) -> int:
        return self.prompt.shape[1]

    @property
    def token_dim(self) -> int:
        return self.prompt.shape[2]

    def __call__(
        self,
        embeds: TextEmbeds,
        mask: TextMask,
        ids: Tensor | None = None,
        tasks: Tensor | None = None,
        covered: TextMask | None = None,
    ) -> tuple[OutEmbeds, OutMask]:
        check_inputs(embeds, mask, self.token_dim)
        shift = None
        if self.shifts is not None:
            rows = content_rows(mask if covered is None else covered, self.length)  # [batch, seq], within a pair
            shift = F.embedding(rows + (self.index * (self.length + 1)).unsqueeze(1), self.shifts)
        return apply_pair(Pair(self.prompt, shift), Text(embeds, mask, covered=covered))


def stack_pairs(pairs: Sequence[Folded], index: Integer[Tensor, " batch"]) -> StackedPairs:
    """pairs: of one prompt length, all with a shift or none. index: the pair of each row."""
    prompt = torch.stack([each.prompt for each in pairs])[index]
    if pairs[0].shift is None:
        return StackedPairs(prompt, None, 0, index)
    length = max(len(each.shift) for each in pairs)
    padded = [F.pad(each.shift, (0, 0, 0, length + 1 - len(each.shift))) for each in pairs]
    return StackedPairs(prompt, torch.cat(padded), length, index)
