"""Which frozen models an adapter was made for. Contents decide; names are for messages."""

import json
from collections.abc import Mapping
from typing import Any

BACKBONE_FIELDS = ("base_model_name_or_path", "revision", "backbone_sha256")
VISION_CONTENT = {
    "vision_config_sha256": "config",
    "vision_weights_sha256": "weights",
    "vision_feature_layer": "layer",
    "vision_normalized": "final norm",
    "vision_pooling": "pooling",
    "vision_pool_size": "pool size",
    "preprocessing": "preprocessing",
}
"""What the features depend on, and the word for it. The dtype in which CLIP runs changes only their rounding."""
VISION_FIELDS = ("vision_model_name", "vision_pretrained", *VISION_CONTENT, "vision_dtype")
VISION_OPTIONAL = {
    "vision_kind": "open_clip",
    "vision_joined": None,
    "vision_second": None,
    "vision_weights_file": None,
}
"""Fields that not every tower has, with what their absence means."""


class MismatchedBackbone(ValueError):
    """An adapter beside frozen models that it was not made for. The message shows both sides."""


def check_identity(
    config: Mapping[str, Any],
    backbone_identity: Mapping[str, Any],
    vision_identity: Mapping[str, Any] | None = None,
    *,
    d_model: int,
) -> None:
    """Refuse frozen models of other content, under whatever name.

    `config` is a saved adapter's. Its `backbone_sha256` None, as in an imported adapter, leaves only the width
    to compare; a text adapter, which has no vision fields, goes with any CLIP.

    Raises: MismatchedBackbone.
    """
    wanted_hash, wanted_width = config["backbone_sha256"], config["parts"]["adapter"]["token_dim"]
    other_hash = wanted_hash is not None and wanted_hash != backbone_identity["backbone_sha256"]
    if other_hash or wanted_width != d_model:
        raise MismatchedBackbone(
            "the adapter was made for another backbone: wanted "
            f"{_backbone_name(config)} of width {wanted_width}, "
            f"given {_backbone_name(backbone_identity)} of width {d_model}"
        )
    vision = config["vision"]
    if vision is None:
        return
    if vision_identity is None:
        raise MismatchedBackbone(f"the adapter reads images: wanted the tower {_vision_name(vision)}, given no tower")
    given = json.loads(json.dumps(dict(vision_identity)))  # tuples as the lists that a file has
    different = _differences(vision, given)
    if different:
        raise MismatchedBackbone(
            f"the adapter was made for another tower or other features of it: wanted {_vision_name(vision)}, "
            f"given {_vision_name(given)}; wanted {'; wanted '.join(different)}"
        )


def _differences(vision: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    words = {**VISION_CONTENT, "vision_kind": "library", "vision_joined": "joining of layers"}
    own, other = (VISION_OPTIONAL | dict(each) for each in (vision, given))
    different = [
        f"{word} {_short(own.get(field))}, given {_short(other.get(field))}"
        for field, word in words.items()
        if own.get(field) != other.get(field)
    ]
    second, found = own["vision_second"], other["vision_second"]
    if second and found:
        return different + [f"second tower's {each}" for each in _differences(second, found)]
    if second or found:
        names = [_vision_name(each) if each else "none" for each in (second, found)]
        different.append(f"second tower {names[0]}, given {names[1]}")
    return different


def tower_of(vision: Mapping[str, Any]) -> dict[str, Any]:
    """The tower that an adapter records, in the words of the config's `vision`."""
    squash = vision["preprocessing"]["resize_mode"] == "squash"
    vision = VISION_OPTIONAL | dict(vision)
    found = {
        "kind": vision["vision_kind"],
        "model_name": vision["vision_model_name"],
        "pretrained": vision["vision_pretrained"],
        "weights": vision["vision_weights_file"],
        "layer": vision["vision_feature_layer"],
        "pooling": vision["vision_pooling"],
        "pool_size": vision["vision_pool_size"],
        "joined": vision["vision_joined"] or "width",
        "resize": "squash" if squash else "model",
    }
    return found | ({"second": tower_of(vision["vision_second"])} if vision["vision_second"] else {})


def _backbone_name(identity: Mapping[str, Any]) -> str:
    revision = f" at {identity['revision']}" if identity.get("revision") else ""
    sha = identity.get("backbone_sha256")
    content = "of unknown content" if sha is None else f"(sha256 {_short(sha)})"
    return f"{identity['base_model_name_or_path']}{revision} {content}"


def _vision_name(identity: Mapping[str, Any]) -> str:
    tag = identity.get("vision_pretrained")
    sha = _short(identity.get("vision_weights_sha256"))
    return f"{identity.get('vision_model_name')}{f' ({tag})' if tag else ''} (sha256 {sha})"


def _short(value: object) -> str:
    return value[:12] if isinstance(value, str) and len(value) == 64 else str(value)
