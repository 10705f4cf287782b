"""Multitask prompt tuning (MPT). Wang et al., ICLR 2023, arXiv:2303.02861.

    X' = [P * (u_k v_k^T); X]

with P [prompt, d_model] that tasks share and, for each task k, a rank-one factor of u_k [prompt] and v_k [d_model],
multiplied entry by entry. A fresh one starts with u = v = 1, as prompt tuning with the same P. (PEFT draws u and v from
normal(0, 0.02), a prompt near zero.)

The paper's recipe in three runs: prompt tuning on each source task gives a teacher; an MPT of all source tasks learns
from the data and, `start: {sources: [FOLDER, ..]}`, from the frozen teachers,

    loss = nats + 0.9 (KL(teacher || student) + MSE of the last hidden states of encoder and decoder)

and a target task starts from that run, `start: {from: FOLDER}`: from P and the mean of the sources' u and of their v.
Several target tasks together do so too, each with that mean. From any other prompt a start takes P alone.

`num_tasks` null: one task, in which all three train: 77,668 weights at T5-base. A number: several tasks train P and
their own factors together, a row's task says which; with 8 of them (76,800 + 8 * 868) / 8 = 10,468 weights a task.

The equations are the paper's; the authors' code could not be read: 0.9 is recollected, and which hidden states count
(the last ones, here) is a choice.
"""

import torch
from torch import Tensor, nn

from dept_vl.adapters.contract import (
    ADAPTERS,
    Adapter,
    Pair,
    Rows,
    Text,
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
    distillation = 0.9

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
        tasks = text.own_tasks(f"MPT of {self.num_tasks} tasks")
        u, v = self.task_u[tasks], self.task_v[tasks]  # [batch, prompt], [batch, d_model]
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
        """All three from an MPT of as many tasks; P and, for every task, the means of u and v from one of others; P
        alone, with u = v = 1, from any folded prompt. Raises: WrongSource."""
        if isinstance(source, MPT) and source.num_tasks == self.num_tasks:
            return super().start_from(source)
        if isinstance(source, MPT):
            check_width(source, self)
            notes = copy_prompt(source.prompt_embeddings, self.prompt_embeddings)
            rows = min(self.num_virtual_tokens, source.num_virtual_tokens)
            self.task_u[..., :rows] = _mean(source.task_u)[:rows]
            self.task_v[...] = _mean(source.task_v)
            return notes
        notes = copy_prompt(folded_source(source, self).prompt, self.prompt_embeddings)
        self.task_u.fill_(1)
        self.task_v.fill_(1)
        return (*notes, "the task's factor starts at one: the source has none")


def _mean(factors: Tensor) -> Tensor:
    """Over the tasks, where there are several."""
    return factors.mean(0) if factors.ndim == 2 else factors
