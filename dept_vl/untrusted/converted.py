"""Folders made once of a file and kept in a cache by that file's content: whole or not there, by one process at a time.

    <cache>/<kind>/<name>-<16 digits of its sha256>/      beside what was made, source.json: the file's name and sha256

The cache is the folder DEPT_VL_CACHE, or dept_vl in XDG_CACHE_HOME or ~/.cache. All of it may be deleted at any time.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from dept_vl.untrusted.whole_files import make_folder

try:
    import fcntl
except ImportError:  # Windows: two processes may both make the folder, and the second one's stays
    fcntl = None  # type: ignore[assignment]

RECORD = "source.json"
_LONGEST = 100  # characters of the file's name that go into the folder's


class _ConvertedFrom(msgspec.Struct):
    """Of which file a folder was made."""

    file: str
    sha256: str


def cache_root() -> Path:
    given = os.environ.get("DEPT_VL_CACHE")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dept_vl"


def converted(source: Path, kind: str, convert: Callable[[Path, Path], None]) -> Path:
    """The folder that `convert(source, folder)` fills, unless an earlier call did. kind: of conversion, with a number
    that changes when it does.

    Raises: OSError for a source that cannot be read or a cache that cannot be written; what `convert` raises.
    """
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    folder = cache_root() / kind / f"{source.stem[:_LONGEST]}-{digest[:16]}"
    if (folder / RECORD).is_file():
        return folder
    make_folder(folder)
    with _alone(folder.with_name(f".{folder.name}.lock")):
        if not (folder / RECORD).is_file():  # nobody else made it while we waited
            _fill(folder, source, digest, convert)
    return folder


def find_converted(kind: str, file: str) -> Path | None:
    """The newest folder that was made of a file of this name, wherever that file was."""
    found = []
    for record in (cache_root() / kind).glob(f"*/{RECORD}"):
        with contextlib.suppress(OSError, ValueError):  # deleted meanwhile, or no record of ours
            if msgspec.json.decode(record.read_bytes(), type=_ConvertedFrom).file == file:
                found.append((record.stat().st_mtime, record.parent))
    return max(found)[1] if found else None


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("ab") as file:
        if fcntl is not None:
            with contextlib.suppress(OSError):  # no locks on this filesystem
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fill(folder: Path, source: Path, digest: str, convert: Callable[[Path, Path], None]) -> None:
    half = folder.with_name(f".{folder.name}.half")
    for left in (half, folder):  # by a killed process, or by somebody who deleted the record
        shutil.rmtree(left, ignore_errors=True)
    half.mkdir()
    try:
        convert(source, half)
        record = {"file": source.name, "sha256": digest}
        (half / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        for path in half.rglob("*"):
            if path.is_file():
                with path.open("rb+") as file:
                    os.fsync(file.fileno())  # a full disk may only show here
        half.rename(folder)
    finally:
        shutil.rmtree(half, ignore_errors=True)
