"""Each part of a network as plain JSON, and back: adapter_config.json's "parts".

    {"adapter":    {"name": "dept", "token_dim": 768, "args": {...}, "state": {"trained_length": 64}},
     "projection": {"in_dim": 2048, "token_dim": 768, "num_patches": 36}}

A part is rebuilt on the meta device, so sizes that a stranger's file claims take no memory before its weights are seen
to have them.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from dept_vl.adapters import Adapter, from_config, name_of
from dept_vl.part import Part
from dept_vl.saved.files import BadAdapterFolder, read_field
from dept_vl.vision import VisualProjection

PROJECTION_SIZES = ("in_dim", "token_dim", "num_patches")


def describe(name: str, part: Part) -> dict[str, Any]:
    if isinstance(part, Adapter):
        known = {"name": name_of(part), "token_dim": part.token_dim}
        return {**known, "args": part.config(), "state": part.state()}
    if isinstance(part, VisualProjection):
        return {size: getattr(part, size) for size in PROJECTION_SIZES}
    raise TypeError(f"{name}: wanted an adapter or a projection, given {type(part).__name__}")


def build_parts(path: Path, described: Mapping[str, Any]) -> dict[str, Part]:
    """The parts of a config at `path`, without memory for weights. Raises: BadAdapterFolder."""
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
    """An adapter of these sizes, with shapes for weights until `load_weights`. Raises: BadAdapterFolder."""
    try:
        adapter = from_config(name, token_dim, arguments, state or {}, device="meta")
    except Exception as error:  # a constructor raises what it likes for what a stranger's file says
        raise BadAdapterFolder(path, f"arguments of an adapter {name!r:.80}", f"others: {error}") from error
    if missing := sorted(set(adapter.config()) - set(arguments)):
        raise BadAdapterFolder(path, f"the argument {missing[0]!r}", f"only {sorted(arguments)}")
    return adapter


def _build_projection(path: Path, given: dict[str, Any]) -> VisualProjection:
    sizes = [read_field(path, given, name, int, minimum=1) for name in PROJECTION_SIZES]
    try:
        with torch.device("meta"):
            return VisualProjection(*sizes)
    except RuntimeError as error:  # more than torch can count
        raise BadAdapterFolder(path, "sizes of a projection", f"{sizes}") from error


_BUILD: dict[str, Callable[[Path, dict[str, Any]], Part]] = {
    "adapter": _build_adapter,
    "projection": _build_projection,
}
