"""A tuning by its name: the constructor's signature is the schema of its arguments."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedModel, T5Config, T5ForConditionalGeneration

from dept_vl.tuning.contract import TUNINGS, Tuning


def build_tuning(name: str, arguments: Mapping[str, Any], generator: torch.Generator | None = None) -> Tuning:
    """`TUNINGS[name](**arguments)`, with `generator` where the method draws.

    Raises: UnknownName, BadArguments, and what the constructor raises.
    """
    return TUNINGS.build(name, arguments, generator)


def count_weights(name: str, arguments: Mapping[str, Any], model: PreTrainedModel) -> dict[str, int]:
    """Trained weights by group on a model of that shape, which may be on the meta device; it is left as it was."""
    tuning = build_tuning(name, arguments)
    try:
        with model.device:
            groups = tuning.place(model)
        return {group: sum(weight.numel() for weight in each.values()) for group, each in groups.items()}
    finally:
        tuning.detach()


def count_published(shape: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """`count_weights` of every method that names published arguments, on a T5 v1.0 of this shape that takes no memory.

    Its vocabulary has the tokenizer's 32,100 rows, as in the published counts.
    """
    with torch.device("meta"):
        model = T5ForConditionalGeneration(T5Config(vocab_size=32_100, **shape))
    known = {name: each.published for name, each in TUNINGS.items() if each.published is not None}
    return {name: count_weights(name, arguments, model) for name, arguments in known.items()}
