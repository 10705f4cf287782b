"""Toy arguments for every registered adapter, by the argument's name: a new adapter is under all laws at once."""

import dataclasses
from pathlib import Path
from typing import Any

from dept_vl.adapters import ADAPTERS, arguments_of
from dept_vl.config import Experiment

SIZES = {
    "num_virtual_tokens": 3,
    "r": 2,
    "max_length": 16,
    "bottleneck": 4,
    "num_prompts": 2,
    "num_sources": 2,
    "prompt_width": 4,
    "shift_width": 4,
}


def toy_arguments(name: str, **sizes: int) -> dict[str, Any]:
    """What the constructor of the adapter of that name cannot do without; `sizes` change single ones."""
    wanted = [each.name for each in arguments_of(ADAPTERS[name]).values() if each.default is each.empty]
    return {each: {**SIZES, **sizes}[each] for each in wanted}


def all_toy_arguments(**sizes: int) -> dict[str, dict[str, Any]]:
    return {name: toy_arguments(name, **sizes) for name in sorted(ADAPTERS)}


def with_sources(config: Experiment, root: Path) -> Experiment:
    """The config with as many folders as its adapter mixes sources: an adapter's config in each, and no weights."""
    if not ADAPTERS[config.adapter.name].mixes_sources:
        return config
    folders = [root / f"source{number}" for number in range(config.adapter.args["num_sources"])]
    for folder in folders:
        folder.mkdir(exist_ok=True)
        (folder / "adapter_config.json").write_text("{}")
    start = {**config.adapter.start, "sources": [str(folder) for folder in folders]}
    return dataclasses.replace(config, adapter=dataclasses.replace(config.adapter, start=start))
