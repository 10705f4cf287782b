"""Prompt tuning (PT). Lester, Al-Rfou and Constant, EMNLP 2021, arXiv:2104.08691.

    X' = [P; X]

with P [prompt, d_model].
"""

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
    first_rows,
    prepend,
)


@ADAPTERS.register("pt")
class PromptTuning(Adapter):
    """P is the first `num_virtual_tokens` rows of `init`. Raises: BadAdapterSize, TooFewInitRows."""

    def __init__(self, init: Float[Tensor, "rows d_model"], *, num_virtual_tokens: int) -> None:
        super().__init__()
        check_size(
            "PromptTuning",
            "num_virtual_tokens",
            num_virtual_tokens,
            minimum=1,
            why="nothing to train without",
        )
        self.num_virtual_tokens = num_virtual_tokens
        self.token_dim = init.shape[1]
        self.prompt_embeddings = nn.Parameter(first_rows("PromptTuning", init, num_virtual_tokens))

    def forward(self, embeds: Float[Tensor, "batch seq d_model"], mask: TextMask) -> tuple[OutEmbeds, OutMask]:
        check_inputs(embeds, mask, self.token_dim)
        return prepend(self.prompt_embeddings, embeds, mask, embeds.dtype)

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"prompt": [self.prompt_embeddings]}

    def fold(self) -> Folded:
        return Folded(prompt=self.prompt_embeddings.detach().clone(), shift=None)

    def config(self) -> dict[str, int | float | None]:
        return {
            "num_virtual_tokens": self.num_virtual_tokens,
            "token_dim": self.token_dim,
            "trained_length": self.trained_length,
        }
