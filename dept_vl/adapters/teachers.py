"""Teachers: frozen prompts of single tasks, from which an adapter of a mixture of these tasks learns beside the data.

A teacher is read as an adapter is, each row with its own task's; `Network` adds `weight` times the distance between
what it and the adapter make of a batch to the loss.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from dept_vl.adapters.contract import Pair, Text, apply_pair, check_inputs


@dataclass(frozen=True, eq=False)
class Teachers:
    """prompts: of each task of the mixture, in its order. weight: of the distance in the loss."""

    prompts: Float[Tensor, "tasks prompt d_model"]
    weight: float

    def __call__(
        self,
        embeds: Tensor,
        mask: Tensor,
        ids: Tensor | None = None,
        tasks: Tensor | None = None,
        covered: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As an adapter is called. Raises: WrongInputs, also where rows do not name their tasks."""
        check_inputs(embeds, mask, self.prompts.shape[2])
        text = Text(embeds, mask, ids, tasks)
        prompts = self.prompts.to(embeds.device)[text.own_tasks(f"teachers of {len(self.prompts)} tasks")]
        return apply_pair(Pair(prompts), text)
