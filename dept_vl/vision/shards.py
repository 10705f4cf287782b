"""One file of features: written whole or not at all, and checked against its header when it is opened.

A shard is a safetensors file with one tensor `features` [image, patch, width]; its metadata holds
the address of the store it belongs to, the keys of its rows and the unreadable images among its share.
"""

import contextlib
import fcntl
import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dept_vl.untrusted.json_files import parse_json

_SHARE = "share"


class DamagedStore(ValueError):
    """A feature store whose files are missing, cut short or not what its manifest says."""


@dataclass(frozen=True)
class ShardFile:
    """What a shard's header says of it."""

    keys: tuple[str, ...]
    unreadable: dict[str, str]
    num_bytes: int


def write_whole(path: Path, data: bytes) -> None:
    """Write under a name of its own, then rename: a reader or a second writer sees all of it or nothing.

    Raises:
        OSError: naming `path`; the temporary file is gone and an older `path` is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            with contextlib.suppress(OSError):  # no locks on this filesystem: then nothing is ever abandoned
                fcntl.flock(file, fcntl.LOCK_EX)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # a full disk may only show here
            os.replace(temporary, path)
    except OSError as error:
        what = f"could not write {len(data):,} bytes ({error.strerror}): nothing half-written is left"
        raise OSError(error.errno, what, str(path)) from error
    finally:
        with contextlib.suppress(OSError):  # not there, or a disk that has become read-only
            temporary.unlink()


def remove_abandoned(folder: Path) -> None:
    """Delete temporary files that a killed writer left: those with bytes in them that nobody has locked. Their age says
    nothing, for a clock may jump."""
    for path in folder.glob(".*.tmp"):
        try:
            with path.open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(file.fileno()).st_size:  # an empty one may be about to be locked
                    path.unlink()
        except OSError:
            continue  # its writer is at work or has just renamed it, or it cannot be told


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
        share = parse_json((handle.metadata() or {})[_SHARE])
        keys, unreadable, given_address = share["keys"], share["unreadable"], share["address"]
        if not (isinstance(keys, list) and isinstance(unreadable, dict) and isinstance(given_address, str)):
            raise ValueError("wanted keys, what is unreadable and an address in its header")
        header = ShardFile(tuple(keys), unreadable, path.stat().st_size)
    except FileNotFoundError as error:
        raise DamagedStore(f"shard {path} is missing: extract again, only such shards are made anew") from error
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise DamagedStore(f"shard {path} is no whole file of features ({error}): {advice}") from error
    wanted, given = [len(header.keys), *shape], list(rows.get_shape())
    if given != wanted or given_address != address:
        raise DamagedStore(
            f"shard {path}: wanted features {wanted} of store {address[:12]}, "
            f"given {given} of store {given_address[:12]}: {advice}"
        )
    return rows, header
