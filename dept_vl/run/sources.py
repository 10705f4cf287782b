"""Frozen prompts by the folders of adapter.start.sources: of other tasks for an adapter that mixes them (ATTEMPT), of
the tasks of a mixture for one that learns from them (MPT)."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dept_vl.adapters import ADAPTERS, Folded, Rows, Teachers
from dept_vl.config import AdapterConfig, BadConfig, Experiment
from dept_vl.saved import check_identity, read_any
from dept_vl.saved.files import read_config
from dept_vl.tasks import TASKS


def check_sources(config: AdapterConfig) -> None:
    """Fail early, by the folders' configs alone. Raises: BadConfig, BadAdapterFolder."""
    folders = [Path(each) for each in config.start.get("sources") or []]
    wanted = _number_of_sources(config)
    if len(folders) not in wanted:
        raise BadConfig(
            f"adapter.start.sources: wanted {' or '.join(map(str, wanted))} folders of trained prompts for "
            f"{config.name}, given {len(folders)}"
        )
    if again := next((each for place, each in enumerate(folders) if each in folders[:place]), None):
        raise BadConfig(f"adapter.start.sources: wanted each folder once, given {again} twice")
    for folder in folders:
        read_config(folder)


def _number_of_sources(config: AdapterConfig) -> tuple[int, ...]:
    """How many there may be: teachers are optional, one for each task of a mixture."""
    method = ADAPTERS[config.name]
    if method.mixes_sources:
        return (config.args["num_sources"],)
    tasks = config.args.get("num_tasks") if method.distillation is not None else None
    return (0,) if tasks is None else (0, tasks)


def check_teachers(config: Experiment, *, visual: bool) -> None:
    """Raises: BadConfig for teachers of a mixture that a frozen prompt alone cannot teach."""
    given = config.adapter
    if ADAPTERS[given.name].distillation is None or not given.start.get("sources"):
        return
    if visual or config.inside.method is not None:
        beside = "tasks with images" if visual else f"inside.name {config.inside.method}"
        raise BadConfig(
            f"adapter.start.sources: wanted text tasks and nothing inside the frozen model for the teachers of "
            f"{given.name}, given {beside}: a teacher is a prompt alone"
        )
    tasks = [TASKS[each].name for each in config.task.mixture or ()]
    for folder, task in zip(given.start["sources"], tasks, strict=False):  # their number is checked by check_sources
        taught = (read_config(Path(folder)).get("task") or {}).get("name", task)
        if taught != task:
            raise BadConfig(
                f"adapter.start.sources: wanted the teachers in the order of task.mixture ({', '.join(tasks)}), given "
                f"{folder} of {taught} in the place of {task}"
            )


def read_teachers(
    config: AdapterConfig, identity: Mapping[str, Any], d_model: int
) -> tuple[Teachers | None, tuple[str, ...]]:
    """The teachers of a mixture, of its tasks in their order, if the config has any; and the sha256 of each.

    Raises: as `read_sources`.
    """
    weight = ADAPTERS[config.name].distillation
    if weight is None or not config.start.get("sources"):
        return None, ()
    rows, hashes = read_sources(config, identity, d_model)
    return Teachers(rows.unflatten(0, (len(hashes), -1)), weight), hashes


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
