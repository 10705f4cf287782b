"""One file of features: written whole or not at all, and checked against its header when it is opened.

A shard is a safetensors file with one tensor `features` [image, patch, width]; its metadata holds
the address of the store it belongs to, the keys of its rows and the unreadable images among its share.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dept_vl.untrusted.whole_files import write_whole

_SHARE = "share"


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
        raise DamagedStore(f"shard {path} is no whole file of features ({error}): {advice}") from error
    wanted, given = [len(header.keys), *shape], list(rows.get_shape())
    if given != wanted or header.address != address:
        raise DamagedStore(
            f"shard {path}: wanted features {wanted} of store {address[:12]}, "
            f"given {given} of store {header.address[:12]}: {advice}"
        )
    return rows, header
