"""Adaptive decomposed prompt tuning (ADePT). Tang et al., ICLR 2025, arXiv:2501.03291; github.com/HungerPWAY/ADePT.

    X' = [P; X + ReLU(X A + a) B + b]

with P [prompt, d_model], A [d_model, bottleneck], a [bottleneck], B [bottleneck, d_model], b [d_model]: where DePT adds
to a position, this adds to a token, wherever it stands. a, B and b start at zero, so ADePT starts as prompt tuning. A
starts uniform(+-1 / sqrt(bottleneck)), as the released code draws it: torch takes the last axis of its A for the one
that is summed over. That code also computes a scale as DePT's and does not use it; the paper's equation has none.
"""

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from dept_vl.adapters.contract import (
    ADAPTERS,
    Adapter,
    Pair,
    Rows,
    Text,
    check_size,
    first_rows,
    folded_source,
    full_precision,
)
from dept_vl.adapters.initialise import uniform
from dept_vl.adapters.start import copy_prompt


@ADAPTERS.register("adept")
class ADePT(Adapter):
    """P is the first `num_virtual_tokens` rows of `init`. Raises: BadAdapterSize, TooFewInitRows."""

    published = {"num_virtual_tokens": 60, "bottleneck": 19}
    reads_text = True

    def __init__(
        self, init: Rows, *, num_virtual_tokens: int, bottleneck: int, generator: Generator | None = None
    ) -> None:
        super().__init__()
        check_size("ADePT", "num_virtual_tokens", num_virtual_tokens, minimum=1)
        check_size("ADePT", "bottleneck", bottleneck, minimum=1, why="use PromptTuning for no shift")
        self.num_virtual_tokens, self.bottleneck, self.token_dim = num_virtual_tokens, bottleneck, init.shape[1]
        self.prompt_embeddings = nn.Parameter(first_rows("ADePT", init, num_virtual_tokens))
        bound, device = bottleneck**-0.5, init.device
        self.down = nn.Parameter(uniform(self.token_dim, bottleneck, bound, generator).to(device))
        self.down_bias = nn.Parameter(torch.zeros(bottleneck, device=device))
        self.up = nn.Parameter(torch.zeros(bottleneck, self.token_dim, device=device))
        self.up_bias = nn.Parameter(torch.zeros(self.token_dim, device=device))

    def pair(self, text: Text) -> Pair:
        return Pair(self.prompt_embeddings, self.offset(text.embeds))

    def offset(self, embeds: Float[Tensor, "*tokens d_model"]) -> Float[Tensor, "*tokens d_model"]:
        """What is added to each token."""
        return torch.relu(embeds.float() @ self.down + self.down_bias) @ self.up + self.up_bias

    @torch.no_grad()
    def fold_tokens(self, table: Float[Tensor, "vocab d_model"]) -> Float[Tensor, "vocab d_model"]:
        """The embedding table, as fp32, with what is added to each token: an encoder that looks its text up there needs
        the prompt alone. The decoder and a head tied to the table keep the old one, which is not written."""
        with full_precision(table.device):
            return table.float() + self.offset(table)

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {
            "prompt": [self.prompt_embeddings],
            "bottleneck": [self.down, self.down_bias, self.up, self.up_bias],
        }

    @torch.no_grad()
    def start_from(self, source: Adapter) -> tuple[str, ...]:
        """All from another ADePT, with new hidden units without effect; the prompt alone from any folded one."""
        if not isinstance(source, ADePT):
            notes = copy_prompt(folded_source(source, self).prompt, self.prompt_embeddings)
            return (*notes, "the token-wise bottleneck starts anew: the source has none")
        notes = super().start_from(source)
        self.up[source.bottleneck :] = 0
        return notes
