"""Reading our own adapter folder: the config is checked, then the weights against it, and nothing is guessed."""

import hashlib
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dept_vl.adapters import Adapter, from_config
from dept_vl.registry import did_you_mean
from dept_vl.saved.adapter_folder import (
    ADAPTER_FIELDS,
    KNOWN_FIELDS,
    LIBRARY,
    PEFT_TYPES,
    PROJECTION_FIELDS,
    PROJECTION_PREFIX,
    PROJECTION_TYPE,
    SIZES,
    TASK_SIZES,
    TASK_TYPES,
    WEIGHTS_HASH,
    SavedAdapter,
)
from dept_vl.saved.identity import BACKBONE_FIELDS, VISION_FIELDS
from dept_vl.tasks.example import template_fields
from dept_vl.untrusted.adapter_files import (
    CONFIG,
    WEIGHTS,
    BadAdapterFolder,
    load_weights,
    read_card,
    read_config,
    read_field,
    read_safetensors,
)
from dept_vl.vision import VisualProjection

_MOST = {"max_source_length": 100_000, "max_target_length": 10_000, "num_beams": 100}  # or an answer would never come


def read_adapter(folder: Path | str) -> SavedAdapter:
    """Read a folder that `save_adapter` wrote; see `load_adapter` for PEFT's and DePT's.

    Raises:
        BadAdapterFolder: a file missing, cut short, damaged, or at odds with the other: names the file, the
            wanted and the given.
    """
    folder = Path(folder)
    path, config = folder / CONFIG, read_config(folder)
    if config.get("library_name") != LIBRARY:
        raise BadAdapterFolder(path, f"library_name {LIBRARY!r}", f"{config.get('library_name')!r}")
    method = _read_method(path, config)
    if config.get("task_type") not in TASK_TYPES:
        raise BadAdapterFolder(path, f"a task_type of {', '.join(TASK_TYPES)}", f"{config.get('task_type')!r}")
    for name in (*BACKBONE_FIELDS, "projection_type"):
        read_field(path, config, name, type(None) if config.get(name, "") is None else str)
    _read_task(path, config)
    if unknown := sorted(set(config) - KNOWN_FIELDS):
        warnings.warn(f"{path}: fields that this version does not know are ignored: {unknown}", stacklevel=2)
    state = read_safetensors(folder / WEIGHTS)
    own = {name: value for name, value in state.items() if not name.startswith(PROJECTION_PREFIX)}
    others = {name.removeprefix(PROJECTION_PREFIX): state[name] for name in state.keys() - own.keys()}
    adapter = build_checked(method, config, state, path)
    load_weights(adapter, own, folder / WEIGHTS)
    projection = _read_projection(path, config, others, folder / WEIGHTS)
    _refuse_mixture(config, folder / WEIGHTS)
    return SavedAdapter(adapter, projection, config, read_card(folder))


def build_checked(method: str, config: Mapping[str, Any], state: Mapping[str, Tensor], path: Path) -> Adapter:
    """An adapter of the config's sizes, with shapes for weights until `load_weights`. Raises: BadAdapterFolder."""
    arguments = {name: config[name] for name in ADAPTER_FIELDS if name in config}
    for name, value in arguments.items():
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise BadAdapterFolder(path, f"{name} as a number or null", f"{value!r:.80}")
    check_sizes(path, config, SIZES, state)
    try:
        adapter = from_config(method, arguments, device="meta")
    except ValueError as error:
        raise BadAdapterFolder(path, f"the sizes of a {PEFT_TYPES[method]} adapter", f"others: {error}") from error
    if missing := sorted(set(adapter.config()) - set(arguments)):
        raise BadAdapterFolder(path, f"the key {missing[0]!r}", f"only {sorted(config)}")
    return adapter


def check_sizes(path: Path, config: Mapping[str, Any], names: Iterable[str], state: Mapping[str, Tensor]) -> None:
    """Refuse sizes beyond every weight's, of which not even a shape could be made. Raises: BadAdapterFolder."""
    widest = max((size for value in state.values() if value.numel() for size in value.shape), default=0)
    for name in names:
        if state and isinstance(size := config.get(name), int) and size > widest:
            raise BadAdapterFolder(
                path, f"{name} <= {widest}, the greatest size among its weights", f"{size}: the two files do not match"
            )


def _refuse_mixture(config: Mapping[str, Any], weights: Path) -> None:
    wanted, given = config.get(WEIGHTS_HASH), hashlib.sha256(weights.read_bytes()).hexdigest()
    if wanted not in (None, given):
        raise BadAdapterFolder(
            weights,
            f"the weights with which {CONFIG} was saved (sha256 {wanted!s:.12})",
            f"others ({given:.12}): damaged, or of another adapter whose saving was cut off; save it once more, or "
            f"take {WEIGHTS_HASH} out of the config where they were changed on purpose",
        )


def _read_method(path: Path, config: dict[str, Any]) -> str:
    given = read_field(path, config, "peft_type", str)
    methods = {peft_type: method for method, peft_type in PEFT_TYPES.items()}
    if given not in methods:
        hint = did_you_mean(given, methods)
        raise BadAdapterFolder(path, f"a peft_type of {', '.join(methods)}", f"{given!r}.{hint}")
    return methods[given]


def _read_task(path: Path, config: dict[str, Any]) -> None:
    if read_field(path, config, "task", type(None) if config.get("task", "") is None else dict) is None:
        return
    task = config["task"]
    for name in ("name", "template"):
        read_field(path, task, name, str)
    try:
        template_fields(task["template"])
    except ValueError as error:
        raise BadAdapterFolder(path, "a task.template that can be filled", f"{error}") from error
    for name in TASK_SIZES:
        if read_field(path, task, name, int, minimum=1) > _MOST[name]:
            raise BadAdapterFolder(path, f"task.{name} <= {_MOST[name]:,}", f"{task[name]:,}")
    task.setdefault("pad_token", None)
    labels = task.setdefault("labels", {})  # absent in adapters saved before text tasks were there
    if not isinstance(labels, dict) or not all(isinstance(each, str) for each in labels.values()):
        raise BadAdapterFolder(path, "task.labels as strings by string", f"{labels!r:.80}")


def _read_projection(
    path: Path, config: dict[str, Any], state: dict[str, Tensor], weights: Path
) -> VisualProjection | None:
    if config["projection_type"] is None:
        if state:
            raise BadAdapterFolder(path, "a projection_type, as its weights have a projection", "null")
        return None
    if config["projection_type"] != PROJECTION_TYPE:
        raise BadAdapterFolder(path, f"projection_type {PROJECTION_TYPE!r}", f"{config['projection_type']!r}")
    if missing := [name for name in VISION_FIELDS if name not in config]:
        raise BadAdapterFolder(path, f"the key {missing[0]!r} beside a projection", f"only {sorted(config)}")
    width, num_patches = (read_field(path, config, name, int, minimum=1) for name in PROJECTION_FIELDS)
    check_sizes(path, config, PROJECTION_FIELDS, state)
    with torch.device("meta"):
        projection = VisualProjection(width, config["token_dim"], num_patches)
    load_weights(projection, state, weights)
    return projection
