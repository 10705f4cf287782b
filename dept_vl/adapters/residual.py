"""Residual prompt tuning. Razdaibiedina et al., Findings of ACL 2023, arXiv:2305.03937.

    X' = [MLP(P) + P; X],   MLP(P) = LayerNorm(ReLU(P W1 + b1) W2 + b2)

with P [prompt, d_model], W1 [d_model, bottleneck], W2 [bottleneck, d_model]: one MLP for all virtual tokens.
After training it is not needed: `fold` drops it.
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
    first_rows,
    full_precision,
    prepend,
)
from dept_vl.adapters.initialise import device_of, uniform


@ADAPTERS.register("residual_pt")
class ResidualPromptTuning(Adapter):
    """P is the first `num_virtual_tokens` rows of `init`; the MLP is drawn as torch draws a Linear layer.

    Raises: BadAdapterSize, TooFewInitRows.
    """

    def __init__(
        self,
        init: Float[Tensor, "rows d_model"],
        *,
        num_virtual_tokens: int,
        bottleneck: int,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        method, why = "ResidualPromptTuning", "nothing to train without"
        check_size(method, "num_virtual_tokens", num_virtual_tokens, minimum=1, why=why)
        check_size(method, "bottleneck", bottleneck, minimum=1, why="use PromptTuning for no MLP")
        self.num_virtual_tokens = num_virtual_tokens
        self.bottleneck = bottleneck
        self.token_dim = init.shape[1]
        self.prompt_embeddings = nn.Parameter(first_rows(method, init, num_virtual_tokens))
        self.mlp = nn.Sequential(
            linear(self.token_dim, bottleneck, generator),
            nn.ReLU(),
            linear(bottleneck, self.token_dim, generator),
            nn.LayerNorm(self.token_dim),
        ).to(init.device)

    def _prompt(self) -> Float[Tensor, "prompt d_model"]:
        with full_precision(self.prompt_embeddings.device):
            return self.mlp(self.prompt_embeddings) + self.prompt_embeddings

    def forward(self, embeds: Float[Tensor, "batch seq d_model"], mask: TextMask) -> tuple[OutEmbeds, OutMask]:
        check_inputs(embeds, mask, self.token_dim)
        return prepend(self._prompt(), embeds, mask, embeds.dtype)

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"prompt": [self.prompt_embeddings, *self.mlp.parameters()]}

    def fold(self) -> Folded:
        return Folded(prompt=self._prompt().detach(), shift=None)

    def config(self) -> dict[str, int | float | None]:
        return {
            "num_virtual_tokens": self.num_virtual_tokens,
            "bottleneck": self.bottleneck,
            "token_dim": self.token_dim,
            "trained_length": self.trained_length,
        }


def linear(in_dim: int, out_dim: int, generator: torch.Generator | None) -> nn.Linear:
    """A Linear layer with torch's own distribution, uniform(+-1 / sqrt(in_dim)), drawn from `generator`."""
    layer = nn.utils.skip_init(nn.Linear, in_dim, out_dim, device=device_of(generator))
    layer.weight = nn.Parameter(uniform(out_dim, in_dim, in_dim**-0.5, generator))
    layer.bias = nn.Parameter(uniform(1, out_dim, in_dim**-0.5, generator)[0])
    return layer
