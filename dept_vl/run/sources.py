"""Frozen prompts of other tasks for an adapter that mixes them (ATTEMPT), by the folders of adapter.start.sources."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dept_vl.adapters import ADAPTERS, Folded, Rows
from dept_vl.config import AdapterConfig, BadConfig
from dept_vl.saved import check_identity, read_any
from dept_vl.saved.files import read_config


def check_sources(config: AdapterConfig) -> None:
    """Fail early, by the folders' configs alone. Raises: BadConfig, BadAdapterFolder."""
    folders = config.start.get("sources") or []
    wanted = config.args["num_sources"] if ADAPTERS[config.name].mixes_sources else 0
    if len(folders) != wanted:
        raise BadConfig(
            f"adapter.start.sources: wanted {wanted} folders of trained prompts for {config.name}, given {len(folders)}"
        )
    for folder in folders:
        read_config(Path(folder))


def read_sources(
    config: AdapterConfig, identity: Mapping[str, Any], d_model: int
) -> tuple[Float[Tensor, "rows d_model"], tuple[str, ...]]:
    """The sources' prompts one behind the other, and the sha256 of each, of its numbers as fp32.

    Raises: BadConfig for a source that is no constant prompt of the config's length, BadAdapterFolder,
        MismatchedBackbone for one of another frozen model.
    """
    check_sources(config)
    prompts = []
    for folder in config.start["sources"]:
        saved = read_any(Path(folder))
        check_identity({**saved.config, "vision": None}, identity, d_model=d_model)
        folded, wanted = saved.adapter.fold(), config.args["num_virtual_tokens"]
        if folded is None or folded.shift is not None or folded.num_virtual_tokens != wanted or saved.inside:
            raise BadConfig(
                f"adapter.start.sources: wanted prompts of {wanted} tokens and nothing beside them, given "
                f"{_described(folded, saved.inside)} in {folder}"
            )
        prompts.append(folded.prompt)
    return torch.cat(prompts), tuple(map(content_hash, prompts))


def content_hash(prompt: Rows) -> str:
    """sha256 of a prompt's numbers, little-endian fp32, row by row."""
    numbers = prompt.detach().to("cpu", torch.float32).contiguous().numpy().astype("<f4")
    return hashlib.sha256(numbers.tobytes()).hexdigest()


def _described(folded: Folded | None, inside: object) -> str:
    if folded is None:
        return "an adapter that reads the text"
    beside = ["a shift"] * (folded.shift is not None) + [type(inside).__name__] * (inside is not None)
    return " and ".join([f"{folded.num_virtual_tokens} tokens", *beside])
