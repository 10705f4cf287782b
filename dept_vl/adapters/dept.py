"""Decomposed prompt tuning (DePT). Shi and Lipani, ICLR 2024, arXiv:2309.05173.

    X' = [P_s; X + c (A B)[:seq]],   c = lora_alpha / sqrt(r)

with P_s [prompt, d_model], A [max_length, rank], B [rank, d_model]. The paper's equation 2 has no c; the
published numbers were made with lora_alpha = 8, so that is the default, and lora_alpha = None gives the
paper's equation. A starts uniform(+-1 / sqrt(r)) and B at zero, as in the authors' code, so DePT starts as
prompt tuning. The paper draws A from a normal distribution whose width it does not give (section 2.2):
`init_weights: gaussian` takes the uniform one's standard deviation, 1 / sqrt(3 r).
"""

import math

import torch
from torch import Generator, nn

from dept_vl.adapters.contract import (
    ADAPTERS,
    Adapter,
    BadAdapterSize,
    Pair,
    Rows,
    Text,
    check_size,
    first_rows,
    folded_source,
)
from dept_vl.adapters.initialise import factor
from dept_vl.adapters.start import copy_prompt, unequal
from dept_vl.adapters.trained_rows import PositionShift


@ADAPTERS.register("dept")
class DePT(PositionShift):
    """P_s is the first `num_virtual_tokens` rows of `init`; 0 is the paper's ablation without a prompt.
    init_weights: how A is drawn, uniform or gaussian.

    Raises: BadAdapterSize, BadInit, TooFewInitRows.
    """

    published = {"num_virtual_tokens": 60, "r": 30, "max_length": 256}

    def __init__(
        self,
        init: Rows,
        *,
        num_virtual_tokens: int,
        r: int,
        max_length: int,
        lora_alpha: float | int | None = 8.0,
        init_weights: str = "uniform",
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        check_size("DePT", "num_virtual_tokens", num_virtual_tokens, minimum=0)
        check_size("DePT", "r", r, minimum=1, why="use PromptTuning for no shift")
        check_size("DePT", "max_length", max_length, minimum=1, why="use PromptTuning for no shift")
        if lora_alpha is not None and not 0 < lora_alpha < math.inf:
            raise BadAdapterSize(f"DePT: wanted lora_alpha > 0, or null for no scale, given {lora_alpha!r}")
        self.num_virtual_tokens, self.r, self.max_length = num_virtual_tokens, r, max_length
        self.lora_alpha, self.init_weights, self.token_dim = lora_alpha, init_weights, init.shape[1]
        prompt = first_rows("DePT", init, num_virtual_tokens)
        if num_virtual_tokens:
            self.prompt_embeddings = nn.Parameter(prompt)
        else:  # no weight, so no empty tensor in an optimizer or a file
            self.register_buffer("prompt_embeddings", prompt, persistent=False)
        a = factor(max_length, r, r**-0.5, init_weights, generator)
        self.lora_embedding_A = nn.Parameter(a.to(init.device))
        self.lora_embedding_B = nn.Parameter(torch.zeros(r, self.token_dim, device=init.device))

    @property
    def scale(self) -> float:
        return 1.0 if self.lora_alpha is None else self.lora_alpha / math.sqrt(self.r)

    def pair(self, text: Text | None) -> Pair:
        shift = self.scale * (self.lora_embedding_A[: self.live_rows] @ self.lora_embedding_B)
        return Pair(self.prompt_embeddings, self.padded(shift))

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        prompt = {"prompt": [self.prompt_embeddings]} if self.num_virtual_tokens else {}
        return prompt | {"low_rank": [self.lora_embedding_A, self.lora_embedding_B]}

    @torch.no_grad()
    def start_from(self, source: Adapter) -> tuple[str, ...]:
        """The prompt from the folded prompt of any adapter, the pair from another DePT's: its shift is kept although
        lora_alpha / sqrt(r) differs, since the factor goes into B. Raises: WrongSource."""
        folded = folded_source(source, self)
        if not isinstance(source, DePT):
            notes = copy_prompt(folded.prompt, self.prompt_embeddings)
            return (*notes, "the low-rank pair starts anew: the source has no shift")
        notes = copy_prompt(folded.prompt, self.prompt_embeddings, may_be_empty=True)
        rows, rank = min(source.trained_rows, self.max_length), min(source.r, self.r)
        self.lora_embedding_A[:rows, :rank] = source.lora_embedding_A[:rows, :rank]
        self.lora_embedding_A[rows:, :rank] = 0  # beside a trained B a random row would be a random shift
        self.lora_embedding_B[:rank] = source.lora_embedding_B[:rank] * (source.scale / self.scale)
        self.lora_embedding_B[rank:] = 0
        self.trained_length = rows
        rest = unequal("shift row", source.trained_rows, self.max_length)
        return (*notes, *rest, *unequal("rank", source.r, self.r))
