"""Residual prompt tuning. Razdaibiedina et al., Findings of ACL 2023, arXiv:2305.03937.

    X' = [MLP(P) + P; X],   MLP(P) = LayerNorm(ReLU(P W1 + b1) W2 + b2)

with P [prompt, d_model], W1 [d_model, bottleneck], W2 [bottleneck, d_model]: one MLP for all virtual tokens.
After training it is not needed: `fold` drops it.
"""

import torch
from torch import Generator, nn

from dept_vl.adapters.contract import ADAPTERS, Adapter, Pair, Rows, Text, check_size, first_rows
from dept_vl.linear_start import linear


@ADAPTERS.register("residual_pt")
class ResidualPromptTuning(Adapter):
    """P is the first `num_virtual_tokens` rows of `init`; the MLP is drawn as torch draws a Linear layer.

    Raises: BadAdapterSize, TooFewInitRows.
    """

    published = {"num_virtual_tokens": 100, "bottleneck": 400}

    def __init__(
        self, init: Rows, *, num_virtual_tokens: int, bottleneck: int, generator: Generator | None = None
    ) -> None:
        super().__init__()
        method = "ResidualPromptTuning"
        check_size(method, "num_virtual_tokens", num_virtual_tokens, minimum=1)
        check_size(method, "bottleneck", bottleneck, minimum=1, why="use PromptTuning for no MLP")
        self.num_virtual_tokens, self.bottleneck, self.token_dim = num_virtual_tokens, bottleneck, init.shape[1]
        self.prompt_embeddings = nn.Parameter(first_rows(method, init, num_virtual_tokens))
        self.mlp = nn.Sequential(
            linear(self.token_dim, bottleneck, generator),
            nn.ReLU(),
            linear(bottleneck, self.token_dim, generator),
            nn.LayerNorm(self.token_dim),
        ).to(init.device)

    def pair(self, text: Text | None) -> Pair:
        return Pair(self.mlp(self.prompt_embeddings) + self.prompt_embeddings)

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"prompt": [self.prompt_embeddings, *self.mlp.parameters()]}

    @torch.no_grad()
    def start_from(self, source: Adapter) -> tuple[str, ...]:
        """New hidden units start without effect, so the target starts as the source's function and can still learn."""
        notes = super().start_from(source)
        self.mlp[2].weight[:, source.bottleneck :] = 0
        return notes
