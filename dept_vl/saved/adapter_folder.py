"""The adapter folder: three files that load by themselves.

    adapter_config.json         the parts and their sizes, the frozen models by name and hash, the task:
        "parts": {"adapter": {"name": "dept", "token_dim": 768, "args": {...}, "state": {"trained_length": 64}},
                  "projection": {"name": "linear", "in_dim": 2048, "token_dim": 768, "num_patches": 36, "args": {}}}
    adapter_model.safetensors   trained weights only, each under its part's name: adapter.*, projection.*, inside.*
    README.md                   the model card
    peft/                       what trains inside the frozen model in PEFT's own format, where PEFT has that method

The config records the sha256 of the weights that it belongs to, and reading refuses others. `library_name` tells the
folder from PEFT's, whose name and layout it shares.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import save
from torch import Tensor

from dept_vl.adapters import ADAPTERS, Adapter, from_config
from dept_vl.backbones import token_order
from dept_vl.part import Part
from dept_vl.saved.card import ModelFacts, model_card
from dept_vl.saved.files import CARD, CONFIG, PEFT, WEIGHTS
from dept_vl.saved.identity import BACKBONE_FIELDS, VISION_FIELDS, VISION_OPTIONAL
from dept_vl.tuning import TUNINGS, Tuning
from dept_vl.untrusted.tensor_files import check_finite
from dept_vl.untrusted.whole_files import write_files_whole
from dept_vl.vision.projections import PROJECTIONS, Projection

LIBRARY = "dept_vl"
TASK_SIZES = ("max_source_length", "max_target_length", "num_beams")
TASK_FIELDS = ("name", "template", "protocol", "labels", "pad_token", *TASK_SIZES)
MORE_TASK_FIELDS = ("score", "answers", "columns", "split_shares", "chat_template")  # that some tasks have
KINDS = {"SEQ_2_SEQ_LM": "seq2seq", "CAUSAL_LM": "causal"}  # of backbones, by PEFT's names
TASK_TYPES = tuple(KINDS)
COVERS = ("text", "text_and_visual")
WEIGHTS_HASH = "weights_sha256"
PROJECTION_SIZES = ("in_dim", "token_dim", "num_patches")
KNOWN_FIELDS = {
    *BACKBONE_FIELDS, "library_name", "dept_vl_version", "task_type", "parts", "vision", "token_order", "covers",
    "task", WEIGHTS_HASH,
}  # fmt: skip


class UnsavableAdapter(ValueError):
    """Parts or facts of which no loadable folder could be made."""


@dataclass(frozen=True)
class SavedAdapter:
    """What an adapter folder holds. `config` is adapter_config.json, `card` the README's text. `joined_parts`: the
    weights, by the names of `weights`, of which this process's modules have only a part."""

    parts: dict[str, Part]
    config: dict[str, Any]
    card: str
    joined_parts: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def adapter(self) -> Adapter:
        return self.parts["adapter"]

    @property
    def projection(self) -> Projection | None:
        return self.parts.get("projection")

    @property
    def inside(self) -> Tuning | None:
        return self.parts.get("inside")

    def of_width(self, d_model: int) -> "SavedAdapter":
        """The same beside a model of this width, where its own is not known: PEFT's LoRA has no record of one."""
        if self.adapter.token_dim:
            return self
        parts = {**self.parts, "adapter": from_config("none", d_model, {}, {})}
        parts["inside"].token_dim = d_model
        described = {name: _describe_part(name, part) for name, part in parts.items()}
        return SavedAdapter(parts, {**self.config, "parts": described}, self.card)

    def weights(self) -> dict[str, Tensor]:
        """The trained weights by the names that `Network.trained_state` gives them."""
        own = {
            f"{name}.{weight}": value
            for name, part in self.parts.items()
            for weight, value in part.state_dict().items()
        }
        own |= self.joined_parts
        return {name: value.detach().cpu().contiguous() for name, value in own.items()}


def save_adapter(
    folder: Path | str,
    parts: Mapping[str, Part],
    *,
    backbone_identity: Mapping[str, Any],
    vision_identity: Mapping[str, Any] | None = None,
    covers: Literal["text", "text_and_visual"] = "text",
    task_type: str = TASK_TYPES[0],
    order: Sequence[str] | None = None,
    task: Mapping[str, Any] | None = None,
    card: ModelFacts,
    joined_parts: Mapping[str, Tensor] | None = None,
) -> SavedAdapter:
    """Write the three files, or, on a full disk, leave the older ones.

    Args:
        parts: `Network.parts`.
        backbone_identity, vision_identity: `Backbone.identity()` and `Tower.identity()`; the second comes
            with a projection and not without one.
        covers: what the shift covers.
        task_type: one of TASK_TYPES, the backbone's kind.
        order: `Network.order`, in which prompt, text and visual tokens are read; None: the kind's usual one.
        task: how to ask it: name, template, protocol, max_source_length, max_target_length, num_beams; labels: what
            each answer string means, {} for free answers; pad_token: for a tokenizer that has none. Some tasks
            have more: score: the name of VQA's; answers: the list among which VQA chooses; columns: which column of a
            file holds a field; split_shares: by which train, val and test of own data were drawn; chat_template:
            whether a text is the user's turn of it. None for an adapter whose task is not known.
        joined_parts: whole weights in place of those of which `parts` have only a part; see `train.Trained`.

    Raises:
        UnsavableAdapter: weights that are no finite numbers, a task or an identity with fields missing.
        WrongOrder: an order that such a backbone cannot read.
        OSError: the disk is full.
    """
    facts = {"covers": covers, "task_type": task_type, "order": order, "task": task}
    config = describe_folder(parts, backbone_identity=backbone_identity, vision_identity=vision_identity, **facts)
    saved = SavedAdapter(dict(parts), config, model_card(config, card), joined_parts or {})
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
    files = {WEIGHTS: data, CARD: saved.card.encode("utf-8"), CONFIG: text.encode("utf-8")}
    (Path(folder) / PEFT / CONFIG).unlink(missing_ok=True)  # of what stood here before
    write_files_whole(Path(folder), files, key=CONFIG)
    if (inside := peft_files(saved)) is not None:
        write_files_whole(Path(folder) / PEFT, inside, key=CONFIG)


def peft_files(saved: SavedAdapter) -> dict[str, bytes] | None:
    """What trains inside the frozen model as the files that `peft.PeftModel.from_pretrained` reads; None where nothing
    does, or a method that PEFT has not."""
    found = None if saved.inside is None else saved.inside.to_peft()
    if found is None:
        return None
    config = {**found[0], **{name: saved.config[name] for name in ("base_model_name_or_path", "revision", "task_type")}}
    text = json.dumps(config, sort_keys=True, indent=2) + "\n"
    return {WEIGHTS: save(found[1], metadata={"format": "pt"}), CONFIG: text.encode("utf-8")}


def describe_folder(
    parts: Mapping[str, Part],
    *,
    backbone_identity: Mapping[str, Any],
    vision_identity: Mapping[str, Any] | None = None,
    covers: str = "text",
    task: Mapping[str, Any] | None = None,
    task_type: str = TASK_TYPES[0],
    order: Sequence[str] | None = None,
) -> dict[str, Any]:
    """adapter_config.json as a dict. Raises: UnsavableAdapter, WrongOrder."""
    if ("projection" in parts) != (vision_identity is not None):
        given = "the projection" if "projection" in parts else "the tower's identity"
        raise UnsavableAdapter(f"wanted a projection and the tower's identity together, given {given} alone")
    _check_fields("backbone_identity", backbone_identity, BACKBONE_FIELDS)
    if vision_identity is not None:
        _check_fields("vision_identity", vision_identity, VISION_FIELDS, optional=tuple(VISION_OPTIONAL))
    if task is not None:
        _check_fields("task", {name: task[name] for name in task if name not in MORE_TASK_FIELDS}, TASK_FIELDS)
    config = {
        **backbone_identity,
        "library_name": LIBRARY,
        "dept_vl_version": version(LIBRARY),
        "task_type": task_type,
        "parts": {name: _describe_part(name, part) for name, part in parts.items()},
        "vision": vision_identity,
        "token_order": token_order(KINDS[task_type], order),
        "covers": covers,
        "task": task,
    }
    return json.loads(json.dumps(config))  # tuples become lists, as they will be when read


def _describe_part(name: str, part: Part) -> dict[str, Any]:
    if isinstance(part, Adapter):
        known = {"name": ADAPTERS.name_of(part), "token_dim": part.token_dim}
        return {**known, "args": part.config(), "state": part.state()}
    if isinstance(part, Tuning):
        return {"name": TUNINGS.name_of(part), "token_dim": part.token_dim, "args": part.config()}
    if isinstance(part, Projection):
        sizes = {size: getattr(part, size) for size in PROJECTION_SIZES}
        return {"name": PROJECTIONS.name_of(part), **sizes, "args": part.config()}
    raise TypeError(f"{name}: wanted an adapter, a projection or a tuning, given {type(part).__name__}")


def _check_fields(what: str, given: Mapping[str, Any], wanted: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
    missing, unknown = sorted(set(wanted) - set(given)), sorted(set(given) - {*wanted, *optional})
    if missing or unknown:
        given = ", ".join([f"no {missing}"] * bool(missing) + [f"unknown {unknown}"] * bool(unknown))
        raise UnsavableAdapter(f"{what}: wanted the fields {', '.join(wanted)}, given {given}")
