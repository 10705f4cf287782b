"""Read an adapter folder: the config is checked, then the weights against it, and nothing is guessed."""

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dept_vl.adapters import Adapter, from_config
from dept_vl.backbones import TOKEN_ORDERS
from dept_vl.part import Part
from dept_vl.registry import DeptVLWarning
from dept_vl.saved.adapter_folder import (
    COVERS,
    KINDS,
    KNOWN_FIELDS,
    LIBRARY,
    PROJECTION_SIZES,
    TASK_FIELDS,
    TASK_SIZES,
    TASK_TYPES,
    WEIGHTS_HASH,
    SavedAdapter,
)
from dept_vl.saved.files import (
    CONFIG,
    WEIGHTS,
    BadAdapterFolder,
    load_weights,
    read_card,
    read_config,
    read_field,
    read_weights,
)
from dept_vl.saved.identity import BACKBONE_FIELDS, VISION_FIELDS
from dept_vl.tasks.example import template_fields
from dept_vl.tuning import Tuning, build_tuning
from dept_vl.vision import Projection, build_projection

_MOST = {"max_source_length": 100_000, "max_target_length": 10_000, "num_beams": 100}  # or an answer would never come
_DEEPEST = 30  # dots in the name of a weight: each is a module within the other


def read_adapter(folder: Path | str) -> SavedAdapter:
    """Read a folder that `save_adapter` wrote; see `load_adapter` for PEFT's and DePT's.

    Raises:
        BadAdapterFolder: a file missing, cut short, damaged, or at odds with the other: names the file, the
            wanted and the given.
    """
    folder = Path(folder)
    path, config = folder / CONFIG, read_config(folder)
    _check_config(path, config)
    state = read_weights(folder / WEIGHTS)
    parts = _build_parts(path, config["parts"])
    if ("projection" in parts) != (config["vision"] is not None):
        raise BadAdapterFolder(path, "a projection and vision together", "one of them alone")
    _load(parts, state, folder / WEIGHTS)
    _refuse_mixture(config, folder / WEIGHTS)
    return SavedAdapter(parts, config, read_card(folder))


def _check_config(path: Path, config: dict[str, Any]) -> None:
    for name, wanted in (("library_name", (LIBRARY,)), ("task_type", TASK_TYPES), ("covers", COVERS)):
        if config.get(name) not in wanted:
            raise BadAdapterFolder(path, f"{name} of {', '.join(wanted)}", f"{config.get(name)!r:.80}")
    kind = "seq2seq" if config.get("vision") is None else KINDS[config["task_type"]]  # without images any order will do
    if tuple(order := read_field(path, config, "token_order", list)) not in TOKEN_ORDERS[kind]:
        known = " or ".join(map(",".join, TOKEN_ORDERS[kind]))
        raise BadAdapterFolder(path, f"token_order {known} for a {kind} backbone", f"{order!r:.80}")
    for name in BACKBONE_FIELDS:
        read_field(path, config, name, type(None) if config.get(name, "") is None else str)
    read_field(path, config, WEIGHTS_HASH, str)
    read_field(path, config, "parts", dict)
    vision = read_field(path, config, "vision", type(None) if config.get("vision", "") is None else dict)
    if missing := [name for name in VISION_FIELDS if vision is not None and name not in vision]:
        raise BadAdapterFolder(path, f"the key {missing[0]!r} in vision", f"only {sorted(vision)}")
    _check_task(path, config)
    if unknown := sorted(set(config) - KNOWN_FIELDS):
        message = f"{path}: fields that this version does not know are ignored: {unknown}"
        warnings.warn(message, DeptVLWarning, stacklevel=4)


def _check_task(path: Path, config: dict[str, Any]) -> None:
    task = read_field(path, config, "task", type(None) if config.get("task", "") is None else dict)
    if task is None:
        return
    for name in TASK_FIELDS:
        if name not in task:
            raise BadAdapterFolder(path, f"the key 'task.{name}'", f"only {sorted(task)}")
    for name in ("name", "template"):
        read_field(path, task, name, str)
    try:
        template_fields(task["template"])
    except ValueError as error:
        raise BadAdapterFolder(path, "a task.template that can be filled", f"{error}") from error
    for name in TASK_SIZES:
        if read_field(path, task, name, int, minimum=1) > _MOST[name]:
            raise BadAdapterFolder(path, f"task.{name} <= {_MOST[name]:,}", f"{task[name]:,}")
    if not isinstance(task.get("chat_template", False), bool):
        raise BadAdapterFolder(path, "task.chat_template as true or false", f"{task['chat_template']!r:.80}")
    shares = task.get("split_shares", [1, 0, 0])
    if not isinstance(shares, list) or len(shares) != 3 or not all(map(_is_share, shares)):
        raise BadAdapterFolder(path, "task.split_shares as three numbers from 0 to 1", f"{shares!r:.80}")
    answers = task.get("answers", [])
    if not isinstance(answers, list) or not all(isinstance(each, str) for each in answers):
        raise BadAdapterFolder(path, "task.answers as a list of texts", f"{answers!r:.80}")
    for name in ("labels", "columns"):
        named = task.get(name, {})
        if not isinstance(named, dict) or not all(isinstance(each, str) for each in named.values()):
            raise BadAdapterFolder(path, f"task.{name} as strings by string", f"{named!r:.80}")


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _build_parts(path: Path, described: Mapping[str, Any]) -> dict[str, Part]:
    """The parts on the meta device: sizes that a stranger's file claims take no memory before its weights have them."""
    if "adapter" not in described or set(described) - set(_BUILD):
        wanted = f"parts of {', '.join(_BUILD)}, the adapter among them"
        raise BadAdapterFolder(path, wanted, f"{', '.join(described) or 'none'}")
    parts = {}
    for name, given in described.items():
        if not isinstance(given, dict):
            raise BadAdapterFolder(path, f"parts.{name} as an object", f"{given!r:.80}")
        parts[name] = _BUILD[name](path, given)
    return parts


def _build_adapter(path: Path, given: dict[str, Any]) -> Adapter:
    name, dim = read_field(path, given, "name", str), read_field(path, given, "token_dim", int, minimum=1)
    arguments, state = (read_field(path, given, field, dict) for field in ("args", "state"))
    return build_checked(path, name, dim, arguments, state)


def build_checked(
    path: Path, name: str, token_dim: int, arguments: Mapping[str, Any], state: Mapping[str, Any] | None = None
) -> Adapter:
    """An adapter of these sizes on the meta device, for `load_weights`. Raises: BadAdapterFolder."""
    try:
        adapter = from_config(name, token_dim, arguments, state or {}, device="meta")
    except Exception as error:  # a constructor raises what it likes for what a stranger's file says
        raise BadAdapterFolder(path, f"arguments of an adapter {name!r:.80}", f"others: {error}") from error
    if missing := sorted(set(adapter.config()) - set(arguments)):
        raise BadAdapterFolder(path, f"the argument {missing[0]!r}", f"only {sorted(arguments)}")
    return adapter


def _build_projection(path: Path, given: dict[str, Any]) -> Projection:
    sizes = [read_field(path, given, name, int, minimum=1) for name in PROJECTION_SIZES]
    name, arguments = given.get("name", "linear"), given.get("args", {})
    try:
        with torch.device("meta"):
            return build_projection(name, arguments, *sizes)
    except Exception as error:  # a constructor raises what it likes for what a stranger's file says
        raise BadAdapterFolder(path, "sizes of a projection", f"{sizes}, {name!r:.80} ({error!s:.200})") from error


def _build_inside(path: Path, given: dict[str, Any]) -> Tuning:
    """What `attach` fills; sizes take no memory before."""
    name, dim = read_field(path, given, "name", str), read_field(path, given, "token_dim", int, minimum=1)
    arguments = read_field(path, given, "args", dict)
    tuning = build_tuning_checked(path, name, arguments)
    if missing := sorted(set(tuning.config()) - set(arguments)):
        raise BadAdapterFolder(path, f"the argument {missing[0]!r}", f"only {sorted(arguments)}")
    tuning.token_dim = dim
    return tuning


def build_tuning_checked(path: Path, name: str, arguments: Mapping[str, Any]) -> Tuning:
    """A tuning without weights, for `hold_checked`. Raises: BadAdapterFolder."""
    try:
        return build_tuning(name, arguments)
    except Exception as error:  # a constructor raises what it likes for what a stranger's file says
        raise BadAdapterFolder(path, f"arguments of a tuning {name!r:.80}", f"others: {error}") from error


_BUILD = {"adapter": _build_adapter, "projection": _build_projection, "inside": _build_inside}


def _load(parts: Mapping[str, Part], state: Mapping[str, Tensor], path: Path) -> None:
    if unknown := sorted(name for name in state if name.partition(".")[0] not in parts):
        raise BadAdapterFolder(path, f"weights of {', '.join(parts)}", f"{unknown[0]:.80}")
    for part_name, part in parts.items():
        own = {name.partition(".")[2]: each for name, each in state.items() if name.partition(".")[0] == part_name}
        if isinstance(part, Tuning):
            hold_checked(part, own, path)
        else:
            load_weights(part, own, path)


def hold_checked(tuning: Tuning, state: dict[str, Tensor], path: Path) -> None:
    """Whether the weights fit shows when they are attached to the frozen model. Raises: BadAdapterFolder."""
    if deep := [name for name in state if name.count(".") > _DEEPEST]:
        raise BadAdapterFolder(path, f"names of at most {_DEEPEST} dots", f"{deep[0]:.80}")
    try:
        tuning.hold(state)
    except KeyError as error:
        raise BadAdapterFolder(path, "weights by their places in a model", f"{error}") from error
    if not state:
        raise BadAdapterFolder(path, "weights of what trains inside the frozen model", "none")


def _refuse_mixture(config: Mapping[str, Any], weights: Path) -> None:
    wanted, given = config[WEIGHTS_HASH], hashlib.sha256(weights.read_bytes()).hexdigest()
    if wanted != given:
        raise BadAdapterFolder(
            weights,
            f"the weights with which {CONFIG} was saved (sha256 {wanted:.12})",
            f"others ({given:.12}): damaged, or of another adapter whose saving was cut off; save it once more",
        )
