"""Ultra-low-dimensional prompt tuning (ULPT). Wu et al., 2025, arXiv:2502.04501; github.com/MANGA-UOFA/ULPT.

    X' = [s * (Z R) + b; X]

with Z [prompt, rank] trained, R [rank, d_model] random and frozen, and a scale s and a shift b [d_model] trained. Z
starts as normal(0, 1), s at one and b at zero. R is drawn as the authors' code draws it, uniform(+-sqrt(6 / (rank +
d_model))), and saved with the trained weights, since no seed is promised to draw the same numbers in another version of
torch or on another device. So entries start with a standard deviation of sqrt(2 rank / (rank + d_model)): the start
depends on the rank, and on no word of the vocabulary.
"""

import torch
from torch import Generator, nn

from dept_vl.adapters.contract import ADAPTERS, Adapter, Pair, Rows, Text, check_size
from dept_vl.adapters.initialise import random_rows, uniform


@ADAPTERS.register("ulpt")
class ULPT(Adapter):
    """Takes only d_model (and the device) from `init`. Raises: BadAdapterSize."""

    published = {"num_virtual_tokens": 100, "r": 64}

    def __init__(self, init: Rows, *, num_virtual_tokens: int, r: int, generator: Generator | None = None) -> None:
        super().__init__()
        check_size("ULPT", "num_virtual_tokens", num_virtual_tokens, minimum=1)
        check_size("ULPT", "r", r, minimum=1)
        self.num_virtual_tokens, self.r, self.token_dim = num_virtual_tokens, r, init.shape[1]
        self.prompt_embedding_Z = nn.Parameter(random_rows(num_virtual_tokens, r, generator).to(init.device))
        self.scale = nn.Parameter(torch.ones(self.token_dim, device=init.device))
        self.shift = nn.Parameter(torch.zeros(self.token_dim, device=init.device))
        bound = (6 / (r + self.token_dim)) ** 0.5
        self.register_buffer("projection_R", uniform(r, self.token_dim, bound, generator).to(init.device))

    def pair(self, text: Text | None) -> Pair:
        return Pair(self.scale * (self.prompt_embedding_Z @ self.projection_R) + self.shift)

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"prompt": [self.prompt_embedding_Z, self.scale, self.shift]}

    @torch.no_grad()
    def start_from(self, source: Adapter) -> tuple[str, ...]:
        """The source's R comes with its Z. New ranks start without effect, so the target starts as the source's
        function and can still learn."""
        notes, rank = super().start_from(source), min(source.r, self.r)
        self.projection_R[:rank] = source.projection_R[:rank]
        self.prompt_embedding_Z[:, rank:] = 0
        return notes
