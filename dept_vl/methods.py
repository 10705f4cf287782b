"""Count the trained weights of every method, with its published arguments, on the shapes of T5; no model is loaded."""

from typing import Any

from dept_vl.adapters import ADAPTERS, from_config
from dept_vl.registry import wanted_one_of
from dept_vl.tuning import count_published

SHAPES = {
    "t5-small": {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_heads": 8, "num_layers": 6},
    "t5-base": {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_heads": 12, "num_layers": 12},
    "t5-large": {"d_model": 1024, "d_kv": 64, "d_ff": 4096, "num_heads": 16, "num_layers": 24},
    "t5-3b": {"d_model": 1024, "d_kv": 128, "d_ff": 16384, "num_heads": 32, "num_layers": 24},
}
"""T5 v1.0 in the words of its config.json."""


def count_methods(shape: str) -> dict[str, dict[str, Any]]:
    """By method {"groups": {group: weights}, "total": weights}; the same arguments on every shape.

    Raises: ValueError for a shape that is none of SHAPES.
    """
    if shape not in SHAPES:
        raise ValueError(f"shape: {wanted_one_of(SHAPES, shape)}")
    counted = input_side(SHAPES[shape]["d_model"]) | count_published(SHAPES[shape])
    return {name: {"groups": groups, "total": sum(groups.values())} for name, groups in counted.items()}


def input_side(width: int) -> dict[str, dict[str, int]]:
    """Weights by group of the adapters that name published arguments, for a model of this width."""
    known = {name: adapter.published for name, adapter in ADAPTERS.items() if adapter.published is not None}
    parts = {name: from_config(name, width, arguments, {}, device="meta") for name, arguments in known.items()}
    return {
        name: {group: sum(weight.numel() for weight in each) for group, each in part.param_groups().items()}
        for name, part in parts.items()
    }
