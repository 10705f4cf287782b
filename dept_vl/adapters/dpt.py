"""Decomposed prompt tuning by low-rank reparameterisation (DPT). Xiao et al., Findings of EMNLP 2023.

    X' = [A B; X]

with A [prompt, rank] and B [rank, d_model], both drawn from uniform(-0.5, 0.5) as the authors' code does.
There is no scale, and both factors train at the prompt's learning rate (0.3 in the paper).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dept_vl.adapters.contract import (
    ADAPTERS,
    Adapter,
    Folded,
    OutEmbeds,
    OutMask,
    TextMask,
    check_inputs,
    check_size,
    full_precision,
    prepend,
)
from dept_vl.adapters.initialise import uniform

BOUND = 0.5


@ADAPTERS.register("dpt")
class DPT(Adapter):
    """Takes only d_model (and the device) from `init`. Raises: BadAdapterSize."""

    def __init__(
        self,
        init: Float[Tensor, "rows d_model"],
        *,
        num_virtual_tokens: int,
        r: int,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_size("DPT", "num_virtual_tokens", num_virtual_tokens, minimum=1, why="nothing to train without")
        check_size("DPT", "r", r, minimum=1, why="nothing to train without")
        self.num_virtual_tokens = num_virtual_tokens
        self.r = r
        self.token_dim = init.shape[1]
        self.prompt_embedding_A = nn.Parameter(uniform(num_virtual_tokens, r, BOUND, generator).to(init.device))
        self.prompt_embedding_B = nn.Parameter(uniform(r, self.token_dim, BOUND, generator).to(init.device))

    def _prompt(self) -> Float[Tensor, "prompt d_model"]:
        with full_precision(self.prompt_embedding_A.device):
            return self.prompt_embedding_A @ self.prompt_embedding_B

    def forward(self, embeds: Float[Tensor, "batch seq d_model"], mask: TextMask) -> tuple[OutEmbeds, OutMask]:
        check_inputs(embeds, mask, self.token_dim)
        return prepend(self._prompt(), embeds, mask, embeds.dtype)

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"prompt": [self.prompt_embedding_A, self.prompt_embedding_B]}

    def fold(self) -> Folded:
        return Folded(prompt=self._prompt().detach(), shift=None)

    def config(self) -> dict[str, int | float | None]:
        return {
            "num_virtual_tokens": self.num_virtual_tokens,
            "r": self.r,
            "token_dim": self.token_dim,
            "trained_length": self.trained_length,
        }
