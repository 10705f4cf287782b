"""What a tower is, remembered beside the feature stores: a run whose features are stored builds no tower and imports no
library for one.

    folder/towers.json      address to facts; an address is a hash of the settings, of the tower's files and of the
                            libraries' versions

Only towers whose files are known are remembered: the embedded one, folders, and timm's networks with a file of weights.
"""

import json
import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
import torch

from dept_vl.embedded import embedded
from dept_vl.embedded.packages import packaged
from dept_vl.untrusted.whole_files import write_whole
from dept_vl.vision.build import BATCH_SIZE, build_tower, check_tower_settings
from dept_vl.vision.hashes import hash_files, hash_json
from dept_vl.vision.tower import Tower, UnloadableTower

_FORMAT = 1
_LIBRARIES = ("torch", "open_clip_torch", "timm", "transformers", "torchvision")


class TowerFacts(msgspec.Struct):
    """identity: as the tower gives it. weights: how many it has."""

    identity: dict[str, Any]
    num_patches: int
    width: int
    weights: int


class RememberedTower:
    """Stands for a tower of these settings, which is built when it is first asked for."""

    def __init__(self, settings: Mapping[str, Any], batch_size: int, facts: TowerFacts) -> None:
        self._settings, self._facts, self._device = settings, facts, torch.device("cpu")
        self.batch_size, self.num_patches, self.width = batch_size, facts.num_patches, facts.width
        self.weights = facts.weights

    def to(self, device: torch.device) -> "RememberedTower":
        """Where the tower is to be, once it is built."""
        self._device = device
        return self

    def identity(self) -> dict[str, Any]:
        return self._facts.identity

    def built(self) -> Tower:
        tower = build_tower(self._settings, batch_size=self.batch_size).to(self._device)
        if facts_of(tower) != self._facts:
            raise UnloadableTower(
                f"{self._settings['model_name']}: wanted the tower of which {self._facts} is remembered, given "
                f"{facts_of(tower)}: its files changed meanwhile; delete towers.json of the feature folder"
            )
        return tower


def find_tower(settings: Mapping[str, Any], folder: Path, *, batch_size: int = BATCH_SIZE) -> Tower | RememberedTower:
    """The tower of these settings: remembered in `folder`, or else built, and remembered where that is possible.

    Raises: as `build_tower`; OSError for a full disk.
    """
    check_tower_settings(settings)
    files = _files(settings)
    if files is None:
        return build_tower(settings, batch_size=batch_size)
    folder.mkdir(parents=True, exist_ok=True)
    address = _address(settings, hash_files(files, folder / "hashes.json"))
    known = _read(folder / "towers.json")
    if address in known:
        return RememberedTower(settings, batch_size, known[address])
    tower = build_tower(settings, batch_size=batch_size)
    if os.access(folder, os.W_OK):
        known = {
            **_read(folder / "towers.json"),
            address: facts_of(tower),
        }  # read anew: another run may have added some
        write_whole(folder / "towers.json", json.dumps(msgspec.to_builtins(known), indent=1).encode())
    return tower


def facts_of(tower: Tower) -> TowerFacts:
    identity = json.loads(json.dumps(tower.identity()))
    weights = sum(weight.numel() for weight in tower.parameters())
    return TowerFacts(identity, tower.num_patches, tower.width, weights)


def _files(settings: Mapping[str, Any]) -> dict[str, Path] | None:
    """All files that a tower is made of, by name; None where they are not known."""
    second = settings.get("second") or None
    beside = _files(second) if second else {}
    if beside is None:
        return None
    name, kind = settings["model_name"], settings.get("kind", "open_clip")
    folder = embedded(name) if kind == "open_clip" else None
    if kind == "open_clip" and name.startswith("local-dir:"):
        folder = Path(name.removeprefix("local-dir:"))
    if kind == "transformers":
        folder = Path(name)
    if kind == "timm" and settings.get("weights"):
        own = {"weights": packaged(settings["weights"]) or Path(settings["weights"])}
    elif folder is not None and folder.is_dir():
        own = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    else:
        return None
    return own | {f"second {name}": path for name, path in beside.items()}


def _address(settings: Mapping[str, Any], hashes: Mapping[str, str | None]) -> str:
    versions = {}
    for library in _LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            versions[library] = None
    content = [_FORMAT, dict(settings), sorted(hashes.items()), versions]
    return hash_json(content)


def _read(path: Path) -> dict[str, TowerFacts]:
    """None of them from a file that is damaged or not there."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, TowerFacts])
    except (OSError, ValueError, RecursionError):
        return {}
