"""Attentional mixtures of soft prompts (ATTEMPT). Asai et al., EMNLP 2022, arXiv:2205.11961.

    X' = [P + sum over j of a_j P_j; X],   a = softmax over j of (max(P_j) . H / T),   T = d_model e
    H = LayerNorm(U SiLU(D max(X)))

with source prompts P_1 .. P_k [prompt, d_model] that were trained on other tasks and stay frozen, the target's P
[prompt, d_model], which counts as the last of the P_j too, and an attention network of D [r, d_model] and U [d_model,
r] without biases. A maximum is taken in each of the d_model columns: over a prompt's tokens, and over the text's real
tokens. D and U start as normal(0, 0.01), P as the first source.

The released code (github.com/AkariAsai/ATTEMPT) differs in two things. Its maximum over X includes the pads, so that a
prompt depends on whether its text is padded; here no pad is seen. And its LayerNorm stays as it starts, which makes
230,400 trained weights at T5-base; here it trains: 100 x 768 + 2 x 100 x 768 + 2 x 768 = 231,936, the paper's 232K.
On a mixture of tasks all of them share one P and one network here; in the paper each target task has its own P.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from dept_vl.adapters.contract import ADAPTERS, Adapter, Pair, Rows, Text, check_size, first_rows, folded_source
from dept_vl.adapters.initialise import random_rows
from dept_vl.adapters.start import WrongSource, copy_prompt
from dept_vl.part import State

STD = 0.01


@ADAPTERS.register("attempt")
class ATTEMPT(Adapter):
    """The sources are the first `num_sources` times `num_virtual_tokens` rows of `init`, one behind the other; they are
    saved beside the trained weights. `r` is the width of the attention network.

    Raises: BadAdapterSize, TooFewInitRows.
    """

    published = {"num_virtual_tokens": 100, "num_sources": 6, "r": 100}
    reads_text = True
    mixes_sources = True

    def __init__(
        self, init: Rows, *, num_virtual_tokens: int, num_sources: int, r: int, generator: Generator | None = None
    ) -> None:
        super().__init__()
        for name, value in {"num_virtual_tokens": num_virtual_tokens, "num_sources": num_sources, "r": r}.items():
            check_size("ATTEMPT", name, value, minimum=1)
        self.num_virtual_tokens, self.num_sources, self.r = num_virtual_tokens, num_sources, r
        self.token_dim, self.temperature = init.shape[1], init.shape[1] * math.e
        rows = first_rows("ATTEMPT", init, num_sources * num_virtual_tokens, what="num_sources x num_virtual_tokens")
        self.register_buffer("source_prompts", rows.unflatten(0, (num_sources, num_virtual_tokens)))
        self.prompt_embeddings = nn.Parameter(self.source_prompts[0].clone())
        self.attention_down = nn.Parameter(random_rows(r, self.token_dim, generator, std=STD).to(init.device))
        self.attention_up = nn.Parameter(random_rows(self.token_dim, r, generator, std=STD).to(init.device))
        self.attention_norm = nn.LayerNorm(self.token_dim, device=init.device)

    @classmethod
    def start_rows(cls, arguments: Mapping[str, Any]) -> int:
        number = arguments.get("num_sources")
        return super().start_rows(arguments) * (max(number, 0) if isinstance(number, int) else 0)

    def mixture(self, text: Text) -> Float[Tensor, "batch prompts"]:
        """Each text's shares of the sources and, last, of the target."""
        hidden = F.silu(highest(text) @ self.attention_down.T)  # [batch, r]
        hidden = self.attention_norm(hidden @ self.attention_up.T)  # [batch, d_model]
        return (hidden @ self._prompts().amax(dim=1).T / self.temperature).softmax(dim=1)

    def pair(self, text: Text) -> Pair:
        return Pair(self.prompt_embeddings + torch.einsum("bj,jmd->bmd", self.mixture(text), self._prompts()))

    def _prompts(self) -> Float[Tensor, "prompts prompt d_model"]:
        return torch.cat([self.source_prompts, self.prompt_embeddings.unsqueeze(0)])

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        attention = [self.attention_down, self.attention_up, *self.attention_norm.parameters()]
        return {"prompt": [self.prompt_embeddings], "attention": attention}

    def state(self) -> State:
        return {"sources": list(self.sources)} if self.sources else {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Raises: ValueError for other than a text for each source."""
        given = state.get("sources", [])
        if set(state) - {"sources"} or not isinstance(given, list) or not all(isinstance(each, str) for each in given):
            raise ValueError(f"ATTEMPT: wanted a state of sources, a hash each, given {dict(state)!r:.200}")
        self.sources = tuple(given)

    @torch.no_grad()
    def start_from(self, source: Adapter) -> tuple[str, ...]:
        """Target and attention network of another ATTEMPT with the same sources, whose shares mean nothing for others;
        the target alone from any folded prompt. Raises: WrongSource."""
        if not isinstance(source, ATTEMPT):
            notes = copy_prompt(folded_source(source, self).prompt, self.prompt_embeddings)
            return (*notes, "the attention network starts anew: the source has none")
        own, given = self.source_prompts, source.source_prompts
        if own.shape != given.shape or not torch.equal(own, given.to(own.device)):
            raise WrongSource(
                f"wanted an ATTEMPT over the same source prompts {list(own.shape)}, given one over others "
                f"{list(given.shape)}"
            )
        return super().start_from(source)


def highest(text: Text) -> Float[Tensor, "batch d_model"]:
    """The greatest value of each column over the real tokens, in fp32; zero for a text without any."""
    real = (text.mask != 0).unsqueeze(-1)  # [batch, seq, 1]
    values = F.pad(text.embeds.float().masked_fill(~real, -math.inf), (0, 0, 0, 1), value=-math.inf)
    return values.amax(dim=1).masked_fill(~real.any(dim=1), 0)
