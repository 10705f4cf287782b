"""Toy arguments for every registered adapter, by the argument's name: a new adapter is under all laws at once."""

from typing import Any

from dept_vl.adapters import ADAPTERS, arguments_of

SIZES = {
    "num_virtual_tokens": 3,
    "r": 2,
    "max_length": 16,
    "bottleneck": 4,
    "num_prompts": 2,
    "prompt_width": 4,
    "shift_width": 4,
}


def toy_arguments(name: str, **sizes: int) -> dict[str, Any]:
    """What the constructor of the adapter of that name cannot do without; `sizes` change single ones."""
    wanted = [each.name for each in arguments_of(ADAPTERS[name]).values() if each.default is each.empty]
    return {each: {**SIZES, **sizes}[each] for each in wanted}


def all_toy_arguments(**sizes: int) -> dict[str, dict[str, Any]]:
    return {name: toy_arguments(name, **sizes) for name in sorted(ADAPTERS)}
