"""The "P-tuning" of the vision-language tables. Sung, Cho and Bansal, CVPR 2022 (VL-adapter), arXiv:2112.06825.

    X' = [tanh(E W1 + b1) W2 + b2; X]

with an embedding E [prompt, d_model], W1 [d_model, bottleneck], W2 [bottleneck, d_model]: 40 tokens through one hidden
layer of 800. It is neither plain prompt tuning nor P-tuning's LSTM (`p_tuning`). The layers start as torch draws them.
The code (github.com/ylsung/VL_adapter) draws E from normal(0, 1): `start: {init: RANDOM}`. The published runs are one
model for four tasks. After training the layers are not needed: `fold` drops them.
"""

import torch
from torch import Generator, nn

from dept_vl.adapters.contract import ADAPTERS, Adapter, Pair, Rows, Text, check_size, first_rows
from dept_vl.linear_start import linear


@ADAPTERS.register("vl_p_tuning")
class VLPTuning(Adapter):
    """E is the first `num_virtual_tokens` rows of `init`. Raises: BadAdapterSize, TooFewInitRows."""

    published = {"num_virtual_tokens": 40, "bottleneck": 800}

    def __init__(
        self, init: Rows, *, num_virtual_tokens: int, bottleneck: int, generator: Generator | None = None
    ) -> None:
        super().__init__()
        check_size("VLPTuning", "num_virtual_tokens", num_virtual_tokens, minimum=1)
        check_size("VLPTuning", "bottleneck", bottleneck, minimum=1, why="use PromptTuning for no MLP")
        self.num_virtual_tokens, self.bottleneck, self.token_dim = num_virtual_tokens, bottleneck, init.shape[1]
        self.prompt_embeddings = nn.Parameter(first_rows("VLPTuning", init, num_virtual_tokens))
        down, up = linear(self.token_dim, bottleneck, generator), linear(bottleneck, self.token_dim, generator)
        self.mlp = nn.Sequential(down, nn.Tanh(), up).to(init.device)

    def pair(self, text: Text | None) -> Pair:
        return Pair(self.mlp(self.prompt_embeddings))

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"prompt": [self.prompt_embeddings, *self.mlp.parameters()]}

    @torch.no_grad()
    def start_from(self, source: Adapter) -> tuple[str, ...]:
        """New hidden units start without effect, so the target starts as the source's function and can still learn."""
        notes = super().start_from(source)
        self.mlp[2].weight[:, source.bottleneck :] = 0
        return notes
