"""Multitask prompt tuning (MPT). Wang et al., ICLR 2023, arXiv:2303.02861.

    X' = [P * (u_k v_k^T); X]

with P [prompt, d_model] that tasks share and, for each task k, a rank-one factor of u_k [prompt] and v_k [d_model],
multiplied entry by entry. A fresh one starts with u = v = 1, as prompt tuning with the same P. (PEFT draws u and v from
normal(0, 0.02), a prompt near zero.)

`num_tasks` null: the stage on one target task, in which all three train: 77,668 weights at T5-base. A number: several
tasks train P and their own factors together, a row's task says which; with 8 of them (76,800 + 8 * 868) / 8 = 10,468
weights a task. `start: {from: FOLDER}` takes P and, for one task, the mean of the sources' u and of their v from an MPT
of several, as the paper does; from any other prompt P alone.

The paper's first stage also distils a teacher per task, which is not here. The equations are the paper's; the authors'
code could not be read.
"""

import torch
from torch import nn

from dept_vl.adapters.contract import (
    ADAPTERS,
    Adapter,
    Pair,
    Rows,
    Text,
    WrongInputs,
    check_size,
    check_width,
    first_rows,
    folded_source,
)
from dept_vl.adapters.start import copy_prompt


@ADAPTERS.register("mpt")
class MPT(Adapter):
    """P is the first `num_virtual_tokens` rows of `init`. Raises: BadAdapterSize, TooFewInitRows."""

    published = {"num_virtual_tokens": 100}

    def __init__(self, init: Rows, *, num_virtual_tokens: int, num_tasks: int | None = None) -> None:
        super().__init__()
        check_size("MPT", "num_virtual_tokens", num_virtual_tokens, minimum=1)
        if num_tasks is not None:
            check_size("MPT", "num_tasks", num_tasks, minimum=1)
        self.num_virtual_tokens, self.token_dim, self.num_tasks = num_virtual_tokens, init.shape[1], num_tasks
        self.reads_text = num_tasks is not None
        own = () if num_tasks is None else (num_tasks,)
        self.prompt_embeddings = nn.Parameter(first_rows("MPT", init, num_virtual_tokens))
        self.task_u = nn.Parameter(torch.ones(*own, num_virtual_tokens, device=init.device))
        self.task_v = nn.Parameter(torch.ones(*own, self.token_dim, device=init.device))

    def pair(self, text: Text | None) -> Pair:
        """Raises: WrongInputs where rows of several tasks do not name theirs."""
        if self.num_tasks is None:
            return Pair(self.prompt_embeddings * torch.outer(self.task_u, self.task_v))
        if text.tasks is None:
            raise WrongInputs(
                f"MPT of {self.num_tasks} tasks: wanted each row's task, given none: the folder of a task below the "
                "run's has the prompt of that task alone"
            )
        u, v = self.task_u[text.tasks], self.task_v[text.tasks]  # [batch, prompt], [batch, d_model]
        return Pair(self.prompt_embeddings * (u.unsqueeze(2) * v.unsqueeze(1)))  # [batch, prompt, d_model]

    def for_task(self, task: int) -> Adapter:
        """An MPT of that task alone, whose weights are copies; it folds to its prompt."""
        if self.num_tasks is None:
            return self
        alone = MPT(self.prompt_embeddings, num_virtual_tokens=self.num_virtual_tokens)
        with torch.no_grad():
            alone.task_u.copy_(self.task_u[task])
            alone.task_v.copy_(self.task_v[task])
        return alone

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"prompt": [self.prompt_embeddings], "task": [self.task_u, self.task_v]}

    @torch.no_grad()
    def start_from(self, source: Adapter) -> tuple[str, ...]:
        """All three from an MPT of as many tasks; for one task P and the means of u and v from one of several; else P
        alone, with u = v = 1, from any folded prompt. Raises: WrongSource."""
        if isinstance(source, MPT) and source.num_tasks == self.num_tasks:
            return super().start_from(source)
        if isinstance(source, MPT) and self.num_tasks is None:
            check_width(source, self)
            notes = copy_prompt(source.prompt_embeddings, self.prompt_embeddings)
            rows = min(self.num_virtual_tokens, source.num_virtual_tokens)
            self.task_u[:rows] = source.task_u.mean(0)[:rows]
            self.task_v.copy_(source.task_v.mean(0))
            return notes
        notes = copy_prompt(folded_source(source, self).prompt, self.prompt_embeddings)
        self.task_u.fill_(1)
        self.task_v.fill_(1)
        return (*notes, "the task's factor starts at one: the source has none")
