"""The stages of a progressive run, from the config to `Progressive`; none for a run through the full model alone."""

from contextlib import AbstractContextManager, nullcontext

from accelerate.utils import broadcast_object_list

from dept_vl.backbones import whole
from dept_vl.config import Experiment
from dept_vl.run.parts import Parts
from dept_vl.train.progressive import (
    Orders,
    Progressive,
    as_they_stand,
    at_random,
    by_activation,
    plan_stages,
    scoring_batches,
)


def start_stages(config: Experiment, parts: Parts) -> AbstractContextManager[Progressive | None]:
    """Leaving the context closes them."""
    given = config.progressive
    if given.kind == "none":
        return nullcontext()
    full = whole(parts.network.backbone)
    stages = plan_stages(
        full,
        kind=given.kind,
        shares=given.shares,
        fractions=given.fractions,
        parts=given.parts,
        max_steps=config.max_steps,
    )

    def order() -> tuple[Orders, int]:
        if given.neurons == "random":
            return at_random(full, config.seed)
        if given.neurons == "first":
            return as_they_stand(full)
        device = parts.accelerator.device
        batches = scoring_batches(
            parts.encoded["train"], parts.gather, rows=given.score_rows, seed=config.seed, device=device
        )
        with parts.accelerator.autocast():
            orders, flops = by_activation(parts.network, batches)
        [orders] = broadcast_object_list([orders])  # equal scores may fall either way on another device
        return orders, flops * parts.accelerator.num_processes

    rule = f"{given.neurons}, {given.score_rows} rows" if given.neurons == "activation" else given.neurons
    rule += ", at every stage" if given.repeat_scoring else ""
    return Progressive(
        parts.network, stages, order, rule=rule, repeated=given.repeat_scoring, answers=given.evaluate == "part"
    )
