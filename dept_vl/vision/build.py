"""Build the tower that a config or an adapter folder describes: the one place for training, prediction and scoring."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dept_vl.registry import Registry, wanted_one_of
from dept_vl.vision.clip import FrozenClip
from dept_vl.vision.pair import TowerPair
from dept_vl.vision.timm_tower import TimmTower
from dept_vl.vision.tower import BATCH_SIZE, Tower
from dept_vl.vision.transformers_tower import TransformersTower

TOWERS = Registry("kind of tower")
TOWERS.add("open_clip", FrozenClip)
TOWERS.add("transformers", TransformersTower)
TOWERS.add("timm", TimmTower)

READING = {"layer": -1, "pooling": "none", "pool_size": None, "resize": "squash", "joined": "width"}
"""How a network is read, with what stands for a setting that is not given."""
TOWER_SETTINGS = ("kind", "model_name", "pretrained", "weights", "second", *READING)
"""The fields of the config's `vision` that say which tower it is."""
_SOURCES = {"open_clip": "pretrained", "timm": "weights"}  # what may stand beside a name


class BadTower(ValueError):
    """Settings that no tower has."""


def build_tower(settings: Mapping[str, Any], *, dtype: str = "float32", batch_size: int = BATCH_SIZE) -> Tower:
    """The frozen tower of these settings, in the words of the config's `vision`.

    Args:
        settings: `TOWER_SETTINGS`, all but model_name with defaults; `second` holds the same for a tower beside it.
        dtype: in which the network runs.
        batch_size: pictures of one pass when features are stored.

    Raises:
        BadTower: no such kind; a setting that is unknown, or not of this kind.
        UnloadableTower: a network that cannot be loaded.
        ValueError: a layer that it does not have, a pooling that its grid does not allow, or grids that do not agree.
    """
    check_tower_settings(settings)
    tower = _load(settings, dtype)
    if settings.get("second"):
        tower = TowerPair(tower, build_tower(settings["second"], dtype=dtype))
    tower.batch_size = batch_size
    return tower


def check_tower_settings(settings: Mapping[str, Any]) -> None:
    """Fail before anything is loaded. Raises: BadTower."""
    if unknown := sorted(set(settings) - set(TOWER_SETTINGS)):
        raise BadTower(f"vision: wanted {', '.join(TOWER_SETTINGS)}, given {', '.join(unknown)}")
    kind = settings.get("kind", "open_clip")
    if str(kind) not in TOWERS:
        raise BadTower(f"vision.kind: {wanted_one_of(TOWERS, str(kind))}")
    if not isinstance(settings.get("model_name"), str):
        raise BadTower(f"vision.model_name: wanted a name, given {settings.get('model_name')!r}")
    for name in ("pretrained", "weights"):
        if settings.get(name) is not None and _SOURCES.get(kind) != name:
            raise BadTower(f"vision.{name}: wanted null for a tower of {kind}, given {settings[name]!r}")
    if second := settings.get("second"):
        if second.get("second"):
            raise BadTower("vision.second: wanted two towers, given a third in the second")
        check_tower_settings(second)


def with_source(settings: Mapping[str, Any], place: Path | str) -> dict[str, Any]:
    """The same tower from another folder, file or name, as when an adapter's record of it is not found here."""
    path, kind = Path(place), settings.get("kind", "open_clip")
    if kind == "timm" and path.is_file():
        return {**settings, "weights": str(place)}
    local = path.is_dir() and kind != "transformers"
    name = f"local-dir:{place}" if local else str(place)
    own = name.startswith(("local-dir:", "hf-hub:"))
    return {**settings, "model_name": name, **({"pretrained": None, "weights": None} if own else {})}


def _load(settings: Mapping[str, Any], dtype: str) -> Tower:
    kind = settings.get("kind", "open_clip")
    source = {name: settings[name] for name in ("pretrained", "weights") if settings.get(name) is not None}
    reading = {name: settings.get(name, default) for name, default in READING.items()}
    return TOWERS[kind].load(settings["model_name"], **source, **reading, dtype=dtype)
