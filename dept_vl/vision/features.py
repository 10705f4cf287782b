"""The files of a feature store: shards written whole, read lazily by image key, checked against their headers.

A shard is a safetensors file with one tensor `features` [image, patch, width]; its metadata holds the address of the
store it belongs to, the keys of its rows and the unreadable images among its share.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dept_vl.registry import did_you_mean
from dept_vl.untrusted.lfs_pointers import pointer_at
from dept_vl.untrusted.whole_files import write_whole

STORED_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
MANIFEST = "manifest.json"
_SHARE = "share"
Size = Annotated[int, msgspec.Meta(ge=1)]


class ShardEntry(msgspec.Struct):
    """A shard in the manifest. file: beside the manifest, never elsewhere."""

    file: Annotated[str, msgspec.Meta(pattern=r"^\d+-\d+\.safetensors$")]
    bytes: int
    keys: list[str]


class Manifest(msgspec.Struct):
    """What a store's manifest says, beside the identity of the CLIP that made it."""

    address: str
    dtype: Literal["float16", "bfloat16"]
    patch: Size
    width: Size
    identity: dict[str, Any]
    unreadable: dict[str, str]
    shards: list[ShardEntry]


class DamagedStore(ValueError):
    """A feature store whose files are missing, cut short or not what its manifest says."""


class ShardFile(msgspec.Struct, frozen=True):
    """What a shard's header says of it."""

    address: str
    keys: tuple[str, ...]
    unreadable: dict[str, str]
    num_bytes: int = 0


def write_shard(
    path: Path,
    features: Float[Tensor, "image patch width"],
    keys: tuple[str, ...],
    unreadable: dict[str, str],
    address: str,
) -> None:
    # One entry only: safetensors writes several in an order of chance, and equal shards must be equal files.
    share = json.dumps({"address": address, "keys": keys, "unreadable": unreadable})
    write_whole(path, save({"features": features.contiguous()}, metadata={_SHARE: share}))


def open_shard(path: Path, address: str, shape: tuple[int, int]) -> tuple[Any, ShardFile]:
    """The shard's rows, read from disk only where they are indexed, and its header.

    Raises:
        DamagedStore: no such file, one cut short, or one of another store or shape.
    """
    advice = f"delete {path} and extract again: only missing shards are made anew"
    try:
        handle = safe_open(path, framework="pt")
        rows = handle.get_slice("features")
        header = msgspec.json.decode((handle.metadata() or {})[_SHARE], type=ShardFile)
        header = msgspec.structs.replace(header, num_bytes=path.stat().st_size)
    except FileNotFoundError as error:
        raise DamagedStore(f"shard {path} is missing: extract again, only such shards are made anew") from error
    except (SafetensorError, OSError, KeyError, ValueError, RecursionError) as error:
        given = pointer_at(path) or error
        raise DamagedStore(f"shard {path} is no whole file of features ({given}): {advice}") from error
    wanted, given = [len(header.keys), *shape], list(rows.get_shape())
    if given != wanted or header.address != address:
        raise DamagedStore(
            f"shard {path}: wanted features {wanted} of store {address[:12]}, "
            f"given {given} of store {header.address[:12]}: {advice}"
        )
    return rows, header


class MissingFeatures(ValueError):
    """Image keys that a store does not hold."""


class FeatureStore:
    """A finished store. `keys` are its readable images, sorted; `shape` is (patch, width).

    A value to hand to worker processes: each opens the shards for itself when it first reads one.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self.shape: tuple[int, int] = (manifest.patch, manifest.width)
        self.dtype: torch.dtype = STORED_DTYPES[manifest.dtype]
        self.unreadable: dict[str, str] = manifest.unreadable
        self._places = {
            key: (number, row) for number, shard in enumerate(manifest.shards) for row, key in enumerate(shard.keys)
        }
        self.keys: tuple[str, ...] = tuple(self._places)
        self._open_shards: dict[int, Any] = {}
        self._process = os.getpid()

    @classmethod
    def open(cls, folder: Path | str) -> "FeatureStore":
        """Open the folder that holds manifest.json.

        Raises:
            DamagedStore: no manifest (an extraction that did not finish), or a shard missing or cut short.
        """
        folder = Path(folder)
        try:
            manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
            _check_sizes(manifest)
        except FileNotFoundError as error:
            raise DamagedStore(
                f"{folder}: wanted a feature store with its {MANIFEST}, given none: the extraction did not "
                "finish; run it again, it goes on where it stopped"
            ) from error
        except (ValueError, RecursionError) as error:
            given = pointer_at(folder / MANIFEST) or error
            raise DamagedStore(
                f"{folder / MANIFEST} is no manifest of a feature store ({given}): delete it and extract "
                "again, finished shards are kept"
            ) from error
        for shard in manifest.shards:
            path = folder / shard.file
            given = path.stat().st_size if path.exists() else None
            if given != shard.bytes:
                size = pointer_at(path) or ("no such file" if given is None else f"{given:,}")
                raise DamagedStore(
                    f"shard {path}: wanted {shard.bytes:,} bytes, given {size}: delete it and extract "
                    "again, only missing shards are made anew"
                )
        return cls(folder, manifest)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open_shards": {}}

    def gather(self, keys: Sequence[str]) -> Float[Tensor, "batch patch width"]:
        """The features of these images in this order, a key as often as it stands there.

        Reads only the rows asked for. In the stored dtype (fp16 or bf16): the caller casts, after any
        transfer to another device.

        Raises:
            MissingFeatures: naming the keys that are not in the store.
        """
        absent = [key for key in keys if key not in self._places]
        if absent:
            raise MissingFeatures(self._explain(absent, len(keys)))
        gathered = torch.empty(len(keys), *self.shape, dtype=self.dtype)
        for place, index in sorted((self._places[key], index) for index, key in enumerate(keys)):
            number, row = place
            gathered[index] = self._shard(number)[row]
        return gathered

    def resident(self) -> tuple[Float[Tensor, "image patch width"], dict[str, int]]:
        """All features in one tensor, in the stored dtype, and the row of each key.

        147,456 bytes an image with 36 patches of width 2048: 18.2 GB for the 123,287 images of COCO.
        """
        table = torch.empty(len(self), *self.shape, dtype=self.dtype)
        start = 0
        for number, shard in enumerate(self.manifest.shards):
            stop = start + len(shard.keys)
            if stop > start:
                table[start:stop] = self._shard(number)[:]
            start = stop
        return table, {key: row for row, key in enumerate(self.keys)}

    def _shard(self, number: int) -> Any:
        if self._process != os.getpid():  # forked: the parent's handles are not ours
            self._open_shards, self._process = {}, os.getpid()
        if number not in self._open_shards:
            shard = self.manifest.shards[number]
            path = self.folder / shard.file
            rows, header = open_shard(path, self.manifest.address, self.shape)
            if list(header.keys) != shard.keys:
                raise DamagedStore(f"shard {path}: its keys are not the manifest's: delete both, extract again")
            self._open_shards[number] = rows
        return self._open_shards[number]

    def _explain(self, absent: list[str], wanted: int) -> str:
        key = absent[0]
        if key in self.unreadable:
            why = f" {key!r} was unreadable: {self.unreadable[key]}."
        else:
            why = did_you_mean(key, self.keys[:10_000])
        names = ", ".join(repr(name) for name in absent[:10])
        return (
            f"{len(absent)} of {wanted} images are not among the {len(self):,} of the feature store "
            f"{self.folder}: {names}{', ...' if len(absent) > 10 else ''}.{why}"
        )


def _check_sizes(manifest: Manifest) -> None:
    """Raises: ValueError for a shard smaller than its rows, or a shard or key that stands there twice."""
    row = manifest.patch * manifest.width * STORED_DTYPES[manifest.dtype].itemsize
    for shard in manifest.shards:
        if shard.bytes < len(shard.keys) * row:
            raise ValueError(
                f"shard {shard.file}: wanted {len(shard.keys):,} rows of {row:,} bytes, given {shard.bytes:,}"
            )
    all_names = [shard.file for shard in manifest.shards]
    all_keys = [key for shard in manifest.shards for key in shard.keys]
    if len(set(all_names)) < len(all_names) or len(set(all_keys)) < len(all_keys):
        raise ValueError("wanted each shard and each key once, given one twice")
