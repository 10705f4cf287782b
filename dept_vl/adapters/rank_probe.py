"""The rank probe: how many directions does a prompt use? Xiao et al., Findings of EMNLP 2023 (DPT), section 2.

    X' = [U diag(relu(sigma)) V; X]

with U [prompt, k], sigma [k], V [k, d_model] and k = min(prompt, d_model): a prompt of full rank in the form of a
singular value decomposition, all three factors trained. The number of positive entries of sigma bounds the prompt's
rank from above; the paper watches it fall.

An entry that falls to zero or below gets no gradient from then on, nor do its column of U and its row of V: it is off
for good. So the count can only fall, and it falls faster at a higher rate: read it beside the learning rate.

The paper says that U and V start at random and sigma positive, not how. Here sigma starts at one, and U and V from
normal(0, k^-1/4): equal factors whose product starts with entries of variance 1, as a random prompt of PEFT's does.
"""

import torch
import torch.nn.functional as F
from torch import Generator, nn

from dept_vl.adapters.contract import ADAPTERS, Adapter, Pair, Rows, Text, check_size
from dept_vl.adapters.initialise import random_rows


@ADAPTERS.register("rank_probe")
class RankProbe(Adapter):
    """`r` is k; None is min(num_virtual_tokens, d_model). Takes only d_model (and the device) from `init`.

    Raises: BadAdapterSize.
    """

    published = {"num_virtual_tokens": 100}

    def __init__(
        self, init: Rows, *, num_virtual_tokens: int, r: int | None = None, generator: Generator | None = None
    ) -> None:
        super().__init__()
        check_size("RankProbe", "num_virtual_tokens", num_virtual_tokens, minimum=1)
        self.token_dim = init.shape[1]
        r = min(num_virtual_tokens, self.token_dim) if r is None else r
        check_size("RankProbe", "r", r, minimum=1)
        self.num_virtual_tokens = num_virtual_tokens
        self.r = r
        std = r**-0.25
        self.probe_U = nn.Parameter(random_rows(num_virtual_tokens, r, generator, std=std).to(init.device))
        self.probe_sigma = nn.Parameter(torch.ones(r, device=init.device))
        self.probe_V = nn.Parameter(random_rows(r, self.token_dim, generator, std=std).to(init.device))

    def pair(self, text: Text | None) -> Pair:
        return Pair(self.probe_U * F.relu(self.probe_sigma) @ self.probe_V)

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"prompt": [self.probe_U, self.probe_sigma, self.probe_V]}

    @torch.no_grad()
    def start_from(self, source: Adapter) -> tuple[str, ...]:
        """New directions start without effect, so the target starts as the source's function and can still learn."""
        notes = super().start_from(source)
        self.probe_V[source.r :] = 0
        return notes

    def diagnostics(self) -> dict[str, float | int]:
        """Entries of sigma above and below zero, and the numerical rank of the prompt: its singular values above
        torch.linalg.matrix_rank's own tolerance, max(prompt, d_model) x 2^-23 x the greatest."""
        sigma = self.probe_sigma.detach()
        return {
            "positive": int((sigma > 0).sum()),
            "negative": int((sigma < 0).sum()),
            "rank": int(torch.linalg.matrix_rank(self.fold().prompt)),
        }
