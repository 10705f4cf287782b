"""Sparse mixture of prompts (SMoP). Choi et al., EMNLP 2023; github.com/jyjohnchoi/SMoP.

    X' = [p_j P_j; X],   p = softmax(W mean(X)),   j = argmax(p)

with prompts P_1 .. P_k [prompt, d_model] and a router W [k, d_model] without bias: each text gets the short prompt that
the router chooses, times its probability, in training and after it; that is how the router gets a gradient.
The mean is over the real tokens, the end token among them, before anything is added. A prompt that no text of a batch
chose gets no gradient from it.

In training each of the router's logits is multiplied by 1 + normal(0, 1), the noise without a gradient (the paper's
form). The released code can also drop them out, and computes a factor of load balance that enters no loss; neither is
here. W starts orthogonal. The code draws the prompts from normal(0, 1), `start: {init: RANDOM}`.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, nn

from dept_vl.adapters.contract import ADAPTERS, Adapter, Pair, Rows, Text, check_size, first_rows
from dept_vl.adapters.initialise import device_of


@ADAPTERS.register("smop")
class SMoP(Adapter):
    """The prompts are the first `num_prompts` times `num_virtual_tokens` rows of `init`.

    Raises: BadAdapterSize, TooFewInitRows.
    """

    published = {"num_virtual_tokens": 5, "num_prompts": 4}
    reads_text = True

    def __init__(
        self, init: Rows, *, num_virtual_tokens: int, num_prompts: int, generator: Generator | None = None
    ) -> None:
        super().__init__()
        check_size("SMoP", "num_virtual_tokens", num_virtual_tokens, minimum=1)
        check_size("SMoP", "num_prompts", num_prompts, minimum=1)
        self.num_virtual_tokens, self.num_prompts, self.token_dim = num_virtual_tokens, num_prompts, init.shape[1]
        rows = first_rows("SMoP", init, num_prompts * num_virtual_tokens, what="num_prompts x num_virtual_tokens")
        self.prompt_embeddings = nn.Parameter(rows.unflatten(0, (num_prompts, num_virtual_tokens)))
        router = torch.empty(num_prompts, self.token_dim, device=device_of(generator))
        self.router = nn.Parameter(nn.init.orthogonal_(router, generator=generator).to(init.device))

    @classmethod
    def start_rows(cls, arguments: Mapping[str, Any]) -> int:
        number = arguments.get("num_prompts")
        return super().start_rows(arguments) * (max(number, 0) if isinstance(number, int) else 0)

    def pair(self, text: Text) -> Pair:
        real = (text.mask != 0).unsqueeze(-1)  # [batch, seq, 1]
        mean = (text.embeds.float() * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)  # [batch, d_model]
        logits = mean @ self.router.T  # [batch, prompts]
        if self.training:
            logits = logits + logits.detach() * torch.randn_like(logits)
        share, chosen = logits.softmax(dim=1).max(dim=1)
        return Pair(self.prompt_embeddings[chosen] * share[:, None, None])

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"prompt": [self.prompt_embeddings], "router": [self.router]}
