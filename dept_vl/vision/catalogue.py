"""List, check and prune the feature stores of a folder."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from dept_vl.untrusted.whole_files import remove_abandoned
from dept_vl.vision.shards import (
    DESCRIPTION,
    DamagedStore,
    ShardIndex,
    StoreFacts,
    hash_features,
    open_shard,
    read_facts,
)


class UnknownStore(ValueError):
    """A name that no feature store has, or more than one."""


class StoreSummary(NamedTuple):
    """A store as `list_stores` finds it: its files, the images whose features it holds, and what is damaged."""

    folder: Path
    facts: StoreFacts | None  # None where store.json is damaged
    images: int
    num_bytes: int
    damaged: list[str]

    def line(self) -> str:
        """Its name, its tower and its size, in one line."""
        size = f"{self.images:,} images, {self.num_bytes / 1e6:,.1f} MB"
        tower = f"{self.damaged[0]}" if self.facts is None else f"{describe_tower(self.facts)}; {size}"
        return f"{self.folder.name}  {tower}{f'; {len(self.damaged)} damaged' if self.damaged and self.facts else ''}"


class KeptUp(NamedTuple):
    """A store and what was done with it: the damage that `check` found in it, and the files, or its folder, that
    `prune` deleted."""

    what: Literal["list", "check", "prune"]
    store: StoreSummary
    damage: list[str]
    deleted: list[Path]

    def lines(self) -> list[str]:
        """What is shown of it."""
        gone = ["deleted" if path == self.store.folder else f"deleted {path}" for path in self.deleted]
        whole = ["whole: every file is as it was written"]
        nothing = {"list": [], "check": whole, "prune": ["nothing in it was damaged"]}
        return [self.store.line(), *(f"  {each}" for each in [*self.damage, *gone] or nothing[self.what])]

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        facts = self.store.facts
        return {
            "folder": str(self.store.folder),
            "tower": None if facts is None else describe_tower(facts),
            "images": self.store.images,
            "bytes": self.store.num_bytes,
            "damaged": self.damage or self.store.damaged,
            "deleted": list(map(str, self.deleted)),
        }


def keep_up(
    what: Literal["list", "check", "prune"], folder: Path, names: Sequence[str] = (), *, damaged_alone: bool = False
) -> list[KeptUp]:
    """What `dept-vl features` does: list, check or prune the stores of these names, or all.

    Raises: UnknownStore, OSError.
    """
    found = []
    for store in list_stores(folder, names):
        damage: list[str] = []
        deleted: list[Path] = []
        if what == "check":
            damage = list(check_store(store.folder).values())
        elif what == "prune" and damaged_alone:
            deleted = prune_damaged(store.folder)
        elif what == "prune":
            prune_store(store.folder)
            deleted = [store.folder]
        found.append(KeptUp(what, store, damage, deleted))
    return found


def list_stores(folder: Path, names: Sequence[str] = ()) -> list[StoreSummary]:
    """The stores in a folder, or those of these names (a beginning is enough). What other folders hold is left alone.

    Raises: UnknownStore.
    """
    places = sorted(path.parent for path in folder.glob(f"*/{DESCRIPTION}"))
    if names:
        places = [_find(places, folder, name) for name in dict.fromkeys(names)]
    return [_summary(place) for place in places]


def check_store(folder: Path) -> dict[Path, str]:
    """Read every byte of a store: the files that are not as they were written, and what is wrong with each."""
    try:
        index = ShardIndex(folder, read_facts(folder))
    except DamagedStore as error:
        return {folder / DESCRIPTION: str(error)}
    wrong = {folder / name: str(error) for name, error in index.damaged.items()}
    for path in sorted(folder.glob("*.safetensors")):
        if path not in wrong:
            rows, header = open_shard(path, index.facts)
            if hash_features(rows[:]) != header.sha256:
                wrong[path] = f"shard {path}: wanted features of sha256 {header.sha256[:12]}, given others"
    return wrong


def prune_damaged(folder: Path) -> list[Path]:
    """Delete the files of a store that are not as they were written, and what killed writers left; what was deleted.
    No run may be reading it. Raises: OSError."""
    remove_abandoned(folder)
    damaged = [path for path in check_store(folder) if path.name != DESCRIPTION]  # which the next run writes anew
    for path in damaged:
        path.unlink(missing_ok=True)
    return damaged


def prune_store(folder: Path) -> None:
    """Delete a store. No run may be reading it. Raises: OSError."""
    (folder / DESCRIPTION).unlink(missing_ok=True)  # first: what a kill leaves is no store
    shutil.rmtree(folder)


def describe_tower(facts: StoreFacts) -> str:
    """Which tower a store is of, how it was read, and the shape of a row."""
    return f"{_tower(facts.identity)}; {facts.patch} x {facts.width} {facts.dtype}"


def _tower(identity: dict[str, Any]) -> str:
    pooling, size = identity.get("vision_pooling"), identity.get("vision_pool_size")
    tag = identity.get("vision_pretrained")
    read = f"layer {identity.get('vision_feature_layer')}, pooling {pooling}{f' to {size} x {size}' if size else ''}"
    name = f"{identity.get('vision_kind')} {identity.get('vision_model_name')}{f' ({tag})' if tag else ''}, {read}"
    second = identity.get("vision_second")
    return f"{name} + {_tower(second)}" if second else name


def _find(places: list[Path], folder: Path, name: str) -> Path:
    found = [place for place in places if place.name.startswith(name)]
    if len(found) != 1:
        given = (
            f"{name!r}, which {len(found) or 'none'} of {', '.join(each.name for each in places) or 'none'} begin with"
        )
        raise UnknownStore(f"{folder}: wanted the name of one feature store, given {given}")
    return found[0]


def _summary(place: Path) -> StoreSummary:
    num_bytes = sum(path.stat().st_size for path in place.iterdir())
    try:
        facts = read_facts(place)
    except DamagedStore as error:
        return StoreSummary(place, None, 0, num_bytes, [str(error)])
    index = ShardIndex(place, facts)
    return StoreSummary(place, facts, len(index.places), num_bytes, [str(each) for each in index.damaged.values()])
