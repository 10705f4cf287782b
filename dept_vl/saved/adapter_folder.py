"""The adapter folder: three files that load by themselves, laid out as PEFT lays them out.

    adapter_config.json         the method and its sizes, both backbones by name and hash, the task
    adapter_model.safetensors   trained weights only: the adapter's, and the projection's as visual_projection.*
    README.md                   the model card

The config records the sha256 of the weights that it belongs to, and reading refuses others.
`peft_type` is PEFT's own PROMPT_TUNING for prompt tuning; the other methods have names that PEFT does not know,
which is why `library_name` stands beside it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from dept_vl.adapters import Adapter, name_of
from dept_vl.saved.card import ModelFacts, model_card
from dept_vl.saved.identity import BACKBONE_FIELDS, VISION_FIELDS
from dept_vl.untrusted.adapter_files import CARD, CONFIG, WEIGHTS, check_finite
from dept_vl.untrusted.whole_files import write_files_whole
from dept_vl.vision import VisualProjection

LIBRARY = "dept_vl"
PEFT_TYPES = {
    "pt": "PROMPT_TUNING",
    "dpt": "DPT",
    "residual_pt": "RESIDUAL_PROMPT_TUNING",
    "dept": "DEPT",
    "rank_probe": "RANK_PROBE",
    "none": "NONE",
}
PROJECTION_TYPE = "linear_rms_norm_positions"
PROJECTION_PREFIX = "visual_projection."
SIZES = ("num_virtual_tokens", "r", "max_length", "bottleneck", "token_dim")
ADAPTER_FIELDS = (*SIZES, "lora_alpha", "trained_length")
TASK_SIZES = ("max_source_length", "max_target_length", "num_beams")
TASK_FIELDS = ("name", "template", "protocol", "labels", "pad_token", *TASK_SIZES)
SHIFT_VISUAL = "shift_visual"  # beside them, true, where the shift covers visual tokens too
TASK_TYPES = ("SEQ_2_SEQ_LM", "CAUSAL_LM")  # PEFT's names for an encoder-decoder and a decoder-only model
_FIXED = {"library_name": LIBRARY, "inference_mode": True, "num_transformer_submodules": 1}
WEIGHTS_HASH = "weights_sha256"  # absent in folders saved before it was there
PROJECTION_FIELDS = ("vision_width", "vision_num_patches")
KNOWN_FIELDS = {*_FIXED, *ADAPTER_FIELDS, *BACKBONE_FIELDS, *VISION_FIELDS, *PROJECTION_FIELDS, "peft_type"} | {
    "dept_vl_version", "projection_type", "task", "task_type", WEIGHTS_HASH,
}  # fmt: skip


class UnsavableAdapter(ValueError):
    """Parts or facts of which no loadable folder could be made."""


@dataclass(frozen=True)
class SavedAdapter:
    """What an adapter folder holds. `config` is adapter_config.json, `card` the README's text."""

    adapter: Adapter
    projection: VisualProjection | None
    config: dict[str, Any]
    card: str

    def weights(self) -> dict[str, Tensor]:
        """The trained weights by the names that `Network.trained_state` gives them."""
        state = dict(self.adapter.state_dict())
        if self.projection is not None:
            own = self.projection.state_dict()
            state |= {f"{PROJECTION_PREFIX}{name}": value for name, value in own.items()}
        return {name: value.detach().cpu().contiguous() for name, value in state.items()}


def save_adapter(
    folder: Path | str,
    adapter: Adapter,
    projection: VisualProjection | None = None,
    *,
    backbone_identity: Mapping[str, Any],
    vision_identity: Mapping[str, Any] | None = None,
    task_type: str = TASK_TYPES[0],
    task: Mapping[str, Any] | None = None,
    card: ModelFacts,
) -> SavedAdapter:
    """Write the three files, or, on a full disk, leave the older ones.

    Args:
        backbone_identity, vision_identity: `Backbone.identity()` and `FrozenClip.identity()`; the second comes
            with a projection and not without one.
        task_type: one of TASK_TYPES, the backbone's kind.
        task: how to ask it: name, template, protocol, max_source_length, max_target_length, num_beams; labels: what
            each answer string means, {} for free answers; pad_token: for a tokenizer that has none. None for an
            adapter whose task is not known.

    Raises:
        UnsavableAdapter: weights that are no finite numbers, a task or an identity with fields missing.
        OSError: the disk is full.
    """
    config = describe_adapter(
        adapter,
        projection,
        backbone_identity=backbone_identity,
        vision_identity=vision_identity,
        task_type=task_type,
        task=task,
    )
    saved = SavedAdapter(adapter, projection, config, model_card(config, card))
    write_adapter(folder, saved)
    return saved


def write_adapter(folder: Path | str, saved: SavedAdapter) -> None:
    """Write what `read_adapter` reads. Raises: UnsavableAdapter, OSError."""
    weights = saved.weights()
    if wrong := check_finite(weights):
        raise UnsavableAdapter(f"{folder}: wanted finite weights to save, given {wrong}; nothing was written")
    data = save(weights, metadata={"format": "pt"})
    config = {**saved.config, WEIGHTS_HASH: hashlib.sha256(data).hexdigest()}
    text = json.dumps(config, sort_keys=True, indent=2, allow_nan=False) + "\n"
    files = {
        WEIGHTS: data,
        CARD: saved.card.encode("utf-8"),
        CONFIG: text.encode("utf-8"),
    }
    write_files_whole(Path(folder), files, key=CONFIG)


def describe_adapter(
    adapter: Adapter,
    projection: VisualProjection | None,
    *,
    backbone_identity: Mapping[str, Any],
    vision_identity: Mapping[str, Any] | None,
    task: Mapping[str, Any] | None,
    task_type: str = TASK_TYPES[0],
) -> dict[str, Any]:
    """adapter_config.json as a dict. Raises: UnsavableAdapter."""
    if (projection is None) != (vision_identity is None):
        given = "the projection" if projection is not None else "CLIP's identity"
        raise UnsavableAdapter(f"wanted a projection and CLIP's identity together, given {given} alone")
    _check_fields("backbone_identity", backbone_identity, BACKBONE_FIELDS)
    config = {
        **_FIXED,
        "task_type": task_type,
        "dept_vl_version": version(LIBRARY),
        "peft_type": PEFT_TYPES[name_of(adapter)],
        **adapter.config(),
        **backbone_identity,
        "projection_type": None,
        "task": None,
    }
    if projection is not None and vision_identity is not None:
        _check_fields("vision_identity", vision_identity, VISION_FIELDS)
        config |= {**vision_identity, "projection_type": PROJECTION_TYPE}
        config |= {"vision_width": projection.in_dim, "vision_num_patches": projection.num_patches}
    if task is not None:
        _check_fields("task", {name: each for name, each in task.items() if name != SHIFT_VISUAL}, TASK_FIELDS)
        config["task"] = dict(task)
    return json.loads(json.dumps(config))  # tuples become lists, as they will be when read


def _check_fields(what: str, given: Mapping[str, Any], wanted: tuple[str, ...]) -> None:
    if set(given) != set(wanted):
        lack, excess = sorted(set(wanted) - set(given)), sorted(set(given) - set(wanted))
        raise UnsavableAdapter(f"{what}: wanted the fields {sorted(wanted)}, given no {lack} and the unknown {excess}")
