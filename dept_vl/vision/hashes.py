"""sha256 of many files, remembered beside the store so that a second call does not read them all again."""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dept_vl.untrusted.json_files import parse_json
from dept_vl.untrusted.whole_files import write_whole

# A file changed twice within a clock tick can keep its time stamp: what is this young is not remembered.
_SETTLED_NS = 2_000_000_000

Stamp = list[int]  # size, modification time, change time (which nobody can set back)


def hash_json(value: Any) -> str:
    """sha256 of a value's JSON, keys in order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def hash_files(
    files: Mapping[str, Path], cache: Path | None = None, *, num_threads: int = 1, progress: bool = False
) -> dict[str, str | None]:
    """sha256 of each file's bytes by key; None where the file cannot be read.

    `cache` is a JSON file that this function keeps: path to stamp and hash. A damaged one is made anew; one in a
    read-only folder is read alone. None remembers nothing.
    """
    known = {} if cache is None else _read(cache)
    fresh: dict[str, tuple[Stamp, str]] = {}

    def remembered(path: Path) -> str | None:
        try:
            stamp, digest = known[os.path.abspath(path)]
            return digest if stamp == _stamp(path) else None
        except (KeyError, OSError):
            return None

    def read(path: Path) -> str | None:
        try:
            stamp = _stamp(path)
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return None
        if time.time_ns() - max(stamp[1:]) > _SETTLED_NS:
            fresh[os.path.abspath(path)] = (stamp, digest)
        return digest

    hashes = {key: remembered(path) for key, path in files.items()}
    unread = [key for key, digest in hashes.items() if digest is None]
    with ThreadPoolExecutor(max(1, num_threads)) as pool:  # hashing and reading both release the GIL
        found = pool.map(read, [files[key] for key in unread])
        hashed = tqdm(found, total=len(unread), desc="hashing images", unit="img", disable=not (progress and unread))
        hashes |= zip(unread, hashed, strict=True)
    if fresh and cache is not None and os.access(cache.parent, os.W_OK):  # read anew: another run may have added some
        write_whole(cache, json.dumps({**known, **_read(cache), **fresh}).encode())
    return hashes


def _stamp(path: Path) -> Stamp:
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _read(cache: Path) -> dict[str, tuple[Stamp, str]]:
    try:
        return {name: (stamp, digest) for name, (stamp, digest) in parse_json(cache.read_bytes()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
