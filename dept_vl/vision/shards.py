"""The files of a feature store: what it is of, and shards that are written whole and name their own rows.

    store.json             the tower's identity, the shape and the type of a row
    <name>.safetensors     one tensor `features` [image, patch, width]; its metadata names the store, the sha256 of the
                           image file behind each row, and that of the features

A shard is its own index, so one file's write publishes rows and index together. Its name is a hash of its rows': the
same images in one shard have the same file, whoever writes it.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dept_vl.untrusted.lfs_pointers import pointer_at
from dept_vl.untrusted.whole_files import write_whole

STORED_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
DESCRIPTION = "store.json"
_IN_FILES = {"float16": "F16", "bfloat16": "BF16"}  # safetensors' names
_SHARE = "share"
Size = Annotated[int, msgspec.Meta(ge=1)]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Place = tuple[str, int]
"""A shard's file name, and a row of it."""


class DamagedStore(ValueError):
    """A feature store whose files are missing, cut short or not what they should be."""


class StoreFacts(msgspec.Struct, frozen=True):
    """What a store is of. `identity` is the tower's; a row has the shape [patch, width]."""

    address: Sha256
    dtype: Literal["float16", "bfloat16"]
    patch: Size
    width: Size
    identity: dict[str, Any]


class ShardHeader(msgspec.Struct, frozen=True):
    """What a shard says of itself: its store, the sha256 of each row's image file, and that of all features."""

    address: str
    rows: tuple[Sha256, ...]
    sha256: Sha256


class ShardIndex:
    """Where the features of each image lie, by the sha256 of its file; `damaged` has the shards that cannot be read.

    An image that two shards hold is read from the first that was found.
    """

    def __init__(self, folder: Path, facts: StoreFacts) -> None:
        self.folder, self.facts = folder, facts
        self.places: dict[str, Place] = {}
        self.damaged: dict[str, DamagedStore] = {}
        self._seen: set[str] = set()
        self.refresh()

    def refresh(self) -> None:
        """Read the shards that have come since."""
        for path in sorted(self.folder.glob("*.safetensors")):
            if path.name not in self._seen:
                self.add(path.name)

    def add(self, name: str) -> None:
        """Read a shard, also one that was damaged before."""
        self._seen.add(name)
        try:
            _, header = open_shard(self.folder / name, self.facts)
        except DamagedStore as error:
            self.damaged[name] = error
            return
        self.damaged.pop(name, None)
        for row, sha256 in enumerate(header.rows):
            self.places.setdefault(sha256, (name, row))


def read_facts(folder: Path) -> StoreFacts:
    """Raises: DamagedStore."""
    path = folder / DESCRIPTION
    try:
        return msgspec.json.decode(path.read_bytes(), type=StoreFacts)
    except FileNotFoundError as error:
        raise DamagedStore(f"{folder}: wanted a feature store with its {DESCRIPTION}, given none") from error
    except (OSError, ValueError, RecursionError) as error:
        given = pointer_at(path) or error
        raise DamagedStore(
            f"{path} describes no feature store ({given}): the next extraction writes it anew"
        ) from error


def write_facts(folder: Path, facts: StoreFacts) -> None:
    """Write store.json unless it is there. Raises: OSError."""
    try:
        if read_facts(folder).address == facts.address:
            return
    except DamagedStore:
        pass
    write_whole(folder / DESCRIPTION, json.dumps(msgspec.to_builtins(facts), indent=2).encode())


def shard_name(rows: Sequence[str]) -> str:
    return f"{hashlib.sha256(' '.join(rows).encode()).hexdigest()[:20]}.safetensors"


def write_shard(
    folder: Path, features: Float[Tensor, "image patch width"], rows: Sequence[str], facts: StoreFacts
) -> str:
    """Write a shard whole; its name. Raises: OSError."""
    features = features.contiguous()
    # One entry only: safetensors writes several in an order of chance, and equal shards must be equal files.
    share = {"address": facts.address, "rows": list(rows), "sha256": hash_features(features)}
    write_whole(folder / shard_name(rows), save({"features": features}, metadata={_SHARE: json.dumps(share)}))
    return shard_name(rows)


def open_shard(path: Path, facts: StoreFacts) -> tuple[Any, ShardHeader]:
    """The shard's rows, read from disk only where they are indexed, and its header.

    Raises:
        DamagedStore: no such file, one cut short, or one of another store, shape or name.
    """
    advice = "extract again: only images without features are read anew"
    try:
        handle = safe_open(path, framework="pt")
        rows = handle.get_slice("features")
        header = msgspec.json.decode((handle.metadata() or {})[_SHARE], type=ShardHeader)
    except FileNotFoundError as error:
        raise DamagedStore(f"shard {path} is missing: {advice}") from error
    except (SafetensorError, OSError, KeyError, ValueError, RecursionError) as error:
        given = pointer_at(path) or error
        raise DamagedStore(f"shard {path} is no whole file of features ({given}): {advice}") from error
    wanted = [len(header.rows), facts.patch, facts.width], _IN_FILES[facts.dtype], facts.address[:12]
    given = list(rows.get_shape()), rows.get_dtype(), header.address[:12]
    if given != wanted or header.address != facts.address:
        raise DamagedStore(
            "shard {}: wanted features {} of {} of store {}, given {} of {} of store {}: {}".format(
                path, *wanted, *given, advice
            )
        )
    if path.name != shard_name(header.rows):
        raise DamagedStore(f"shard {path}: wanted the name of its rows, {shard_name(header.rows)}: {advice}")
    return rows, header


def hash_features(features: Tensor) -> str:
    return hashlib.sha256(features.contiguous().view(torch.uint8).reshape(-1).numpy()).hexdigest()
