"""Decomposed prompt tuning (DePT). Shi and Lipani, ICLR 2024, arXiv:2309.05173.

    X' = [P_s; X + c (A B)[:seq]],   c = lora_alpha / sqrt(r)

with P_s [prompt, d_model], A [max_length, rank], B [rank, d_model]. The paper's equation 2 has no c; the
published numbers were made with lora_alpha = 8, so that is the default, and lora_alpha = None gives the
paper's equation. A starts uniform(+-1 / sqrt(r)) and B at zero, as in the authors' code, so DePT starts as
prompt tuning.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dept_vl.adapters.contract import (
    ADAPTERS,
    Adapter,
    BadAdapterSize,
    Folded,
    OutEmbeds,
    OutMask,
    TextMask,
    add_shift,
    check_inputs,
    check_size,
    first_rows,
    full_precision,
    prepend,
)
from dept_vl.adapters.initialise import uniform


@ADAPTERS.register("dept")
class DePT(Adapter):
    """P_s is the first `num_virtual_tokens` rows of `init`; 0 is the paper's ablation without a prompt.

    Row i of A belongs to the i-th real token; tokens at or beyond `max_length` get no shift.

    Raises: BadAdapterSize, TooFewInitRows.
    """

    def __init__(
        self,
        init: Float[Tensor, "rows d_model"],
        *,
        num_virtual_tokens: int,
        r: int,
        max_length: int,
        lora_alpha: float | int | None = 8.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_size("DePT", "num_virtual_tokens", num_virtual_tokens, minimum=0)
        check_size("DePT", "r", r, minimum=1, why="use PromptTuning for no shift")
        check_size("DePT", "max_length", max_length, minimum=1, why="use PromptTuning for no shift")
        if lora_alpha is not None and not 0 < lora_alpha < math.inf:
            raise BadAdapterSize(f"DePT: wanted lora_alpha > 0, or null for no scale, given {lora_alpha!r}")
        self.num_virtual_tokens = num_virtual_tokens
        self.r = r
        self.max_length = max_length
        self.lora_alpha = lora_alpha
        self.token_dim = init.shape[1]
        prompt = first_rows("DePT", init, num_virtual_tokens)
        if num_virtual_tokens:
            self.prompt_embeddings = nn.Parameter(prompt)
        else:  # no weight, so no empty tensor in an optimizer or a file
            self.register_buffer("prompt_embeddings", prompt, persistent=False)
        self.lora_embedding_A = nn.Parameter(uniform(max_length, r, r**-0.5, generator).to(init.device))
        self.lora_embedding_B = nn.Parameter(torch.zeros(r, self.token_dim, device=init.device))

    @property
    def scale(self) -> float:
        return 1.0 if self.lora_alpha is None else self.lora_alpha / math.sqrt(self.r)

    def _shift(self, num_rows: int) -> Float[Tensor, "rows d_model"]:
        with full_precision(self.lora_embedding_A.device):
            return self.scale * (self.lora_embedding_A[:num_rows] @ self.lora_embedding_B)

    def _trained_rows(self) -> int:
        """Rows of A beyond these are still random while B is trained: a never-trained offset, not zero."""
        return self.max_length if self.trained_length is None else min(self.max_length, self.trained_length)

    def forward(self, embeds: Float[Tensor, "batch seq d_model"], mask: TextMask) -> tuple[OutEmbeds, OutMask]:
        check_inputs(embeds, mask, self.token_dim)
        num_rows = min(embeds.shape[1], self.max_length if self.training else self._trained_rows())
        text = add_shift(embeds, mask, self._shift(num_rows))
        return prepend(self.prompt_embeddings, text, mask, embeds.dtype)

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        prompt = {"prompt": [self.prompt_embeddings]} if self.num_virtual_tokens else {}
        return prompt | {"low_rank": [self.lora_embedding_A, self.lora_embedding_B]}

    def fold(self) -> Folded:
        trained = self._shift(self._trained_rows()).detach()
        shift = nn.functional.pad(trained, (0, 0, 0, self.max_length - trained.shape[0]))  # [max_length, d_model]
        return Folded(prompt=self.prompt_embeddings.detach().clone(), shift=shift)

    def config(self) -> dict[str, int | float | None]:
        return {
            "num_virtual_tokens": self.num_virtual_tokens,
            "r": self.r,
            "max_length": self.max_length,
            "lora_alpha": self.lora_alpha,
            "token_dim": self.token_dim,
            "trained_length": self.trained_length,
        }
