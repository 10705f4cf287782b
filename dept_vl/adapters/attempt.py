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

`num_tasks` a number: several target tasks share the sources and the network, and each has a P of its own, as in the
paper; a row's task says which. With 8 of them (8 x 76,800 + 153,600 + 1,536) / 8 = 96,192 weights a task, the 96K of
the tables. (The configs that were released leave a switch out, so that there one P serves all tasks.)
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
    saved beside the trained weights. `r` is the width of the attention network. `num_tasks` null: one target task.

    Raises: BadAdapterSize, TooFewInitRows.
    """

    published = {"num_virtual_tokens": 100, "num_sources": 6, "r": 100}
    reads_text = True
    mixes_sources = True

    def __init__(
        self,
        init: Rows,
        *,
        num_virtual_tokens: int,
        num_sources: int,
        r: int,
        num_tasks: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        sizes = {"num_virtual_tokens": num_virtual_tokens, "num_sources": num_sources, "r": r}
        for name, value in (sizes if num_tasks is None else {**sizes, "num_tasks": num_tasks}).items():
            check_size("ATTEMPT", name, value, minimum=1)
        self.num_virtual_tokens, self.num_sources, self.r, self.num_tasks = (
            num_virtual_tokens,
            num_sources,
            r,
            num_tasks,
        )
        self.token_dim, self.temperature = init.shape[1], init.shape[1] * math.e
        rows = first_rows("ATTEMPT", init, num_sources * num_virtual_tokens, what="num_sources x num_virtual_tokens")
        self.register_buffer("source_prompts", rows.unflatten(0, (num_sources, num_virtual_tokens)))
        targets = (1, 1) if num_tasks is None else (num_tasks, 1, 1)
        self.prompt_embeddings = nn.Parameter(self.source_prompts[0].repeat(targets))
        self.attention_down = nn.Parameter(random_rows(r, self.token_dim, generator, std=STD).to(init.device))
        self.attention_up = nn.Parameter(random_rows(self.token_dim, r, generator, std=STD).to(init.device))
        self.attention_norm = nn.LayerNorm(self.token_dim, device=init.device)

    @classmethod
    def start_rows(cls, arguments: Mapping[str, Any]) -> int:
        number = arguments.get("num_sources")
        return super().start_rows(arguments) * (max(number, 0) if isinstance(number, int) else 0)

    def mixture(self, text: Text) -> Float[Tensor, "batch prompts"]:
        """Each text's shares of the sources and, last, of its target. Raises: WrongInputs, as `pair`."""
        hidden = F.silu(highest(text) @ self.attention_down.T)  # [batch, r]
        hidden = self.attention_norm(hidden @ self.attention_up.T)  # [batch, d_model]
        sources = hidden @ self.source_prompts.amax(dim=1).T  # [batch, sources]
        target = (hidden * self._targets(text).amax(dim=-2)).sum(dim=1, keepdim=True)  # [batch, 1]
        return (torch.cat([sources, target], dim=1) / self.temperature).softmax(dim=1)

    def pair(self, text: Text) -> Pair:
        """Raises: WrongInputs where rows of several tasks do not name theirs."""
        shares, target = self.mixture(text), self._targets(text)
        mixed = torch.einsum("bj,jmd->bmd", shares[:, :-1], self.source_prompts)
        return Pair(mixed + target * (1 + shares[:, -1:, None]))

    def _targets(self, text: Text) -> Float[Tensor, "rows prompt d_model"]:
        """Of each row, or the only one for all rows."""
        if self.num_tasks is None:
            return self.prompt_embeddings.unsqueeze(0)
        return self.prompt_embeddings[text.own_tasks(f"ATTEMPT of {self.num_tasks} tasks")]

    def for_task(self, task: int) -> Adapter:
        """An ATTEMPT of that task alone, whose weights are copies."""
        if self.num_tasks is None:
            return self
        sizes = {name: getattr(self, name) for name in ("num_virtual_tokens", "num_sources", "r")}
        alone = ATTEMPT(self.source_prompts.flatten(0, 1), **sizes, generator=Generator())
        state = self.state_dict()
        alone.load_state_dict(state | {"prompt_embeddings": state["prompt_embeddings"][task]})
        alone.sources = self.sources
        return alone

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
        """Target and attention network of another ATTEMPT with the same sources, whose shares mean nothing for others,
        and as many tasks; the targets alone from any folded prompt. Raises: WrongSource."""
        if not isinstance(source, ATTEMPT):
            given = folded_source(source, self).prompt
            for target in self.prompt_embeddings.view(-1, self.num_virtual_tokens, self.token_dim):
                notes = copy_prompt(given, target)
            return (*notes, "the attention network starts anew: the source has none")
        own, given = self.source_prompts, source.source_prompts
        if own.shape != given.shape or not torch.equal(own, given.to(own.device)):
            raise WrongSource(
                f"wanted an ATTEMPT over the same source prompts {list(own.shape)}, given one over others "
                f"{list(given.shape)}"
            )
        if source.num_tasks != self.num_tasks:
            raise WrongSource(f"wanted an ATTEMPT of {self.num_tasks} tasks, given one of {source.num_tasks}")
        return super().start_from(source)


def highest(text: Text) -> Float[Tensor, "batch d_model"]:
    """The greatest value of each column over the real tokens, in fp32; zero for a text without any."""
    real = (text.mask != 0).unsqueeze(-1)  # [batch, seq, 1]
    values = F.pad(text.embeds.float().masked_fill(~real, -math.inf), (0, 0, 0, 1), value=-math.inf)
    return values.amax(dim=1).masked_fill(~real.any(dim=1), 0)
