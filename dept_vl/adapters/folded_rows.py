"""Folded pairs by row: each row of a batch gets the prompt and the shift of its own adapter, all rows at once.

    X'_i = [P_e; X_i + S_e],   e the adapter of row i

Only what the batch uses is stacked, and of a shift only the rows that its texts reach; nothing is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

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
class FoldedRows:
    """pairs: the different ones, whose prompts have one length; rows: the pair of each row of the batch."""

    pairs: tuple[Folded, ...]
    rows: Integer[Tensor, " batch"]

    @classmethod
    def of(cls, each: Sequence[Folded], device: torch.device) -> "FoldedRows":
        """`each`: the pair of every row of the batch."""
        place: dict[Folded, int] = {}
        rows = [place.setdefault(pair, len(place)) for pair in each]
        return cls(tuple(place), torch.tensor(rows, device=device))

    def __call__(
        self,
        embeds: TextEmbeds,
        mask: TextMask,
        ids: Tensor | None = None,
        tasks: Tensor | None = None,
        covered: TextMask | None = None,
    ) -> tuple[OutEmbeds, OutMask]:
        """Row by row, and bit by bit, what its own pair gives."""
        check_inputs(embeds, mask, self.pairs[0].token_dim)
        prompts = torch.stack([pair.prompt for pair in self.pairs])[self.rows]  # [batch, prompt, d_model]
        shifts = self._shifts(embeds.shape[1], mask if covered is None else covered)
        return apply_pair(Pair(prompts, shifts), Text(embeds, mask, covered=covered))

    def _shifts(self, seq: int, covered: TextMask) -> Float[Tensor, "batch seq d_model"] | None:
        """The shift of every token; None where no pair has one."""
        if all(pair.shift is None for pair in self.pairs):
            return None
        none = self.pairs[0].prompt.new_zeros(0, self.pairs[0].token_dim)
        tables = [none if pair.shift is None else pair.shift[:seq] for pair in self.pairs]
        table = pad_sequence(
            [*tables, none.new_zeros(seq + 1, none.shape[1])], batch_first=True
        )  # its last row is zero
        return table[self.rows.unsqueeze(1), content_rows(covered, seq)]
