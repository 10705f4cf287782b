"""Decomposed prompt tuning by low-rank reparameterisation (DPT). Xiao et al., Findings of EMNLP 2023.

    X' = [A B; X]

with A [prompt, rank] and B [rank, d_model]. There is no scale, and both factors train at the prompt's learning rate
(0.3 in the paper). Both are drawn from uniform(-0.5, 0.5), as the authors' code does. The paper says random and gives
no numbers: `init_weights: gaussian` draws both from a normal distribution of the same standard deviation, 0.289.
"""

import torch
from torch import Generator, nn

from dept_vl.adapters.contract import ADAPTERS, Adapter, Pair, Rows, Text, check_size
from dept_vl.adapters.initialise import factor

BOUND = 0.5


@ADAPTERS.register("dpt")
class DPT(Adapter):
    """Takes only d_model (and the device) from `init`. init_weights: uniform or gaussian.

    Raises: BadAdapterSize, BadInit.
    """

    published = {"num_virtual_tokens": 100, "r": 10}

    def __init__(
        self,
        init: Rows,
        *,
        num_virtual_tokens: int,
        r: int,
        init_weights: str = "uniform",
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        check_size("DPT", "num_virtual_tokens", num_virtual_tokens, minimum=1)
        check_size("DPT", "r", r, minimum=1)
        self.num_virtual_tokens, self.r, self.token_dim = num_virtual_tokens, r, init.shape[1]
        self.init_weights = init_weights
        a = factor(num_virtual_tokens, r, BOUND, init_weights, generator)
        b = factor(r, self.token_dim, BOUND, init_weights, generator)
        self.prompt_embedding_A, self.prompt_embedding_B = (nn.Parameter(each.to(init.device)) for each in (a, b))

    def pair(self, text: Text | None) -> Pair:
        return Pair(self.prompt_embedding_A @ self.prompt_embedding_B)

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"prompt": [self.prompt_embedding_A, self.prompt_embedding_B]}

    @torch.no_grad()
    def start_from(self, source: Adapter) -> tuple[str, ...]:
        """New ranks start at zero behind A, so the target starts as the source's function and can still learn."""
        notes = super().start_from(source)
        self.prompt_embedding_B[source.r :] = 0
        return notes
