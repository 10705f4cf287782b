"""A bank of folded adapters: one batch may mix them row by row, exactly.

Two stacked tensors and a row index. Rows whose prompt is shorter than the longest are padded where the
backbone wants its padding, so no masked column ever stands between a prompt and its text: T5's relative bias
counts columns.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from dept_vl.adapters.contract import Folded, OutEmbeds, OutMask, TextMask, check_inputs, content_rows

BASE = -1
"""The row index of the bare model: no prompt, no shift."""


class UnknownBankRow(ValueError):
    """A row index that stands for no adapter of the bank."""


class FoldedBank(nn.Module):
    """`bank(embeds, mask, rows)` gives batch row i what `adapters[rows[i]]` alone would give it.

    Args:
        adapters: the stack, at least one, all of one width.
        padding_side: "right" for T5; "left" for a causal model, whose last column must be a real token.

    Raises:
        ValueError: no adapter, or adapters of several widths.
        UnknownBankRow: at the call, a row index outside -1 .. len(adapters) - 1.
    """

    def __init__(self, adapters: Sequence[Folded], *, padding_side: Literal["right", "left"] = "right") -> None:
        super().__init__()
        widths = [folded.prompt.shape[1] for folded in adapters]
        if len(set(widths)) != 1:
            raise ValueError(f"FoldedBank: wanted one or more adapters of one token_dim, given widths {widths}")
        self.padding_side = padding_side
        self.token_dim = widths[0]
        base = Folded(prompt=adapters[0].prompt[:0], shift=None)
        entries = [*adapters, base]  # the last one, so that index -1 finds it
        num = [folded.prompt.shape[0] for folded in entries]
        shifts = [base.prompt if folded.shift is None else folded.shift for folded in entries]
        self.max_prompt = max(num)
        self.max_shift = max(shift.shape[0] for shift in shifts)
        prompts = [pad_rows(folded.prompt, self.max_prompt, padding_side) for folded in entries]
        # + 1: a zero row for the tokens without a shift
        padded = [pad_rows(shift, self.max_shift + 1, "right") for shift in shifts]
        # [adapters + 1, max_prompt, d_model] and [adapters + 1, max_shift + 1, d_model]
        self.register_buffer("prompts", torch.stack(prompts), persistent=False)
        self.register_buffer("shifts", torch.stack(padded), persistent=False)
        self.register_buffer("num_prompt", torch.tensor(num, device=self.prompts.device), persistent=False)

    def __len__(self) -> int:
        return len(self.prompts) - 1

    def forward(
        self, embeds: Float[Tensor, "batch seq d_model"], mask: TextMask, rows: Int[Tensor, " batch"]
    ) -> tuple[OutEmbeds, OutMask]:
        check_inputs(embeds, mask, self.token_dim)
        wrong = [row for row in rows.tolist() if not BASE <= row < len(self)]
        if wrong:
            raise UnknownBankRow(f"FoldedBank: wanted rows from -1 (the base model) to {len(self) - 1}, given {wrong}")
        rows = rows.to(self.prompts.device) % len(self.prompts)  # -1 is the last entry

        entry = rows[:, None] * (self.max_shift + 1)
        shift = F.embedding(entry + content_rows(mask, self.max_shift), self.shifts.flatten(0, 1))
        prompt = self.prompts[rows]  # [batch, max_prompt, d_model]
        out = torch.cat([prompt.to(embeds.dtype), (embeds + shift).to(embeds.dtype)], dim=1)

        num = self.num_prompt[rows][:, None]  # [batch, 1]
        column = torch.arange(self.max_prompt, device=rows.device)
        real = column < num if self.padding_side == "right" else column >= self.max_prompt - num
        out_mask = torch.cat([real.to(mask.dtype), mask], dim=1)  # [batch, out]
        if self.padding_side == "left":
            return out, out_mask
        order = self._text_behind_prompt(num, embeds.shape[1])
        return out.gather(1, order[..., None].expand_as(out)), out_mask.gather(1, order)

    def _text_behind_prompt(self, num: Int[Tensor, "batch 1"], seq: int) -> Int[Tensor, "batch out"]:
        """The columns of [prompt, its pads, text] in the order [prompt, text, the prompt's pads]."""
        column = torch.arange(self.max_prompt + seq, device=num.device)[None]
        behind = torch.where(column < num + seq, column + self.max_prompt - num, column - seq)
        return torch.where(column < num, column, behind)


def pad_rows(table: Float[Tensor, "rows d_model"], num: int, side: str) -> Float[Tensor, "padded d_model"]:
    """`table` as fp32 with zero rows at `side`, up to `num` rows."""
    missing = num - table.shape[0]
    return F.pad(table.float(), (0, 0, 0, missing) if side == "right" else (0, 0, missing, 0))
