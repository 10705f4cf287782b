"""Multitask prompt tuning (MPT), for one task. Wang et al., ICLR 2023, arXiv:2303.02861.

    X' = [P * (u v^T); X]

with P [prompt, d_model] that tasks share and, for each of them, a rank-one factor of u [prompt] and v [d_model],
multiplied entry by entry. This is the stage on one target task, in which all three train: a fresh one starts with
u = v = 1, as prompt tuning with the same P; `start: {from: FOLDER}` takes all three from an MPT of another task, or P
from any prompt. (PEFT draws u and v from normal(0, 0.02), a prompt near zero.)

The paper's first stage, one P for several source tasks into which a teacher per task is distilled, and the mean of the
sources' u and v as the start, need a mixture of tasks in a run and are not here. The equations are the paper's; the
authors' code could not be read.
"""

import torch
from torch import nn

from dept_vl.adapters.contract import ADAPTERS, Adapter, Pair, Rows, Text, check_size, first_rows, folded_source
from dept_vl.adapters.start import copy_prompt


@ADAPTERS.register("mpt")
class MPT(Adapter):
    """P is the first `num_virtual_tokens` rows of `init`. Raises: BadAdapterSize, TooFewInitRows."""

    published = {"num_virtual_tokens": 100}

    def __init__(self, init: Rows, *, num_virtual_tokens: int) -> None:
        super().__init__()
        check_size("MPT", "num_virtual_tokens", num_virtual_tokens, minimum=1)
        self.num_virtual_tokens, self.token_dim = num_virtual_tokens, init.shape[1]
        self.prompt_embeddings = nn.Parameter(first_rows("MPT", init, num_virtual_tokens))
        self.task_u = nn.Parameter(torch.ones(num_virtual_tokens, device=init.device))
        self.task_v = nn.Parameter(torch.ones(self.token_dim, device=init.device))

    def pair(self, text: Text | None) -> Pair:
        return Pair(self.prompt_embeddings * torch.outer(self.task_u, self.task_v))

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"prompt": [self.prompt_embeddings], "task": [self.task_u, self.task_v]}

    @torch.no_grad()
    def start_from(self, source: Adapter) -> tuple[str, ...]:
        """All three from another MPT; P alone, with u = v = 1, from any folded prompt. Raises: WrongSource."""
        if isinstance(source, MPT):
            return super().start_from(source)
        notes = copy_prompt(folded_source(source, self).prompt, self.prompt_embeddings)
        self.task_u.fill_(1)
        self.task_v.fill_(1)
        return (*notes, "the task's factor starts at one: the source has none")
