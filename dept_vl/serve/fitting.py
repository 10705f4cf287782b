"""Check a saved adapter against the frozen models that are loaded, and fold it for the bank."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dept_vl.backbones import Backbone
from dept_vl.model import BankEntry
from dept_vl.registry import UnknownName
from dept_vl.saved import SavedAdapter, check_identity, tower_of
from dept_vl.serve.rows import WrongTask, task_of
from dept_vl.vision import Tower, build_tower, with_source


@dataclass(frozen=True)
class Fitted:
    """An adapter that fits the loaded models. entry: of the bank; tower: that of the model from then on."""

    saved: SavedAdapter
    entry: BankEntry
    tower: Tower | None


def fit(
    saved: SavedAdapter,
    name: str,
    backbone: Backbone,
    tower: Tower | None,
    covers: str | None,
    vision: Path | str | None = None,
) -> Fitted:
    """What `AdaptedModel.join` takes. covers: what the shifts of the adapters cover that are loaded, None for none.
    vision: in place of the tower that the adapter names, where none is loaded.

    Raises: WrongTask, MismatchedBackbone, UnloadableTower.
    """
    saved = saved.of_width(backbone.d_model)
    if covers not in (None, saved.config["covers"]):
        raise WrongTask(
            f"{name}: wanted an adapter whose shift covers {covers}, as those that are loaded, given one that covers "
            f"{saved.config['covers']}: load it into a model of its own"
        )
    task = saved.config["task"]
    if task is not None and task.get("chat_template", False) != (backbone.text_form == "chat"):
        wanted = "in the model's chat template" if backbone.text_form == "chat" else "without a chat template"
        raise WrongTask(f"{name}: wanted an adapter that is asked {wanted}, as the first one is, given another")
    if task is not None:
        try:
            task_of(task)
        except UnknownName:
            pass  # no row is asked of it here, and the rest may be of use
        except ValueError as error:
            raise WrongTask(f"{name}: {error}") from error
    device = backbone.model.device
    if saved.projection is not None and tower is None:
        tower = _load_tower(saved.config["vision"], vision).to(device)
    identity = None if tower is None else tower.identity()
    check_identity(saved.config, backbone.identity(), identity, d_model=backbone.d_model)
    for part in saved.parts.values():
        part.to(device).eval()
    order = tuple(saved.config["token_order"])
    return Fitted(saved, BankEntry(saved.adapter.fold() or saved.adapter, saved.projection, order), tower)


def _load_tower(vision: dict[str, Any], override: Path | str | None) -> Tower:
    """The tower that an adapter records, or the one of the folder, file or name `override` in its place."""
    settings = tower_of(vision)
    settings = settings if override is None else with_source(settings, override)
    return build_tower(settings, dtype=vision["vision_dtype"])
