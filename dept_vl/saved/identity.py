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
        raise MismatchedBackbone(f"the adapter reads images: wanted the CLIP {_vision_name(vision)}, given no CLIP")
    given = json.loads(json.dumps(dict(vision_identity)))  # tuples as the lists that a file has
    different = [
        f"{word} {_short(vision.get(field))}, given {_short(given.get(field))}"
        for field, word in VISION_CONTENT.items()
        if vision.get(field) != given.get(field)
    ]
    if different:
        raise MismatchedBackbone(
            f"the adapter was made for another CLIP or other features of it: wanted {_vision_name(vision)}, "
            f"given {_vision_name(given)}; wanted {'; wanted '.join(different)}"
        )


def tower_of(vision: Mapping[str, Any]) -> dict[str, Any]:
    """The CLIP that an adapter records, in the words of the config's `vision`."""
    squash = vision["preprocessing"]["resize_mode"] == "squash"
    return {
        "model_name": vision["vision_model_name"],
        "pretrained": vision["vision_pretrained"],
        "layer": vision["vision_feature_layer"],
        "pooling": vision["vision_pooling"],
        "pool_size": vision["vision_pool_size"],
        "resize": "squash" if squash else "model",
    }


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
    is_hash = isinstance(value, str) and len(value) == 64
    return value[:12] if is_hash else str(value)
