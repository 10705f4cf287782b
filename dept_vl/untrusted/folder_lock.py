"""Lock a run folder for one process at a time; the system frees it when the process dies.

It is a POSIX lock, so a worker that was forked from a killed process does not keep it. It holds between processes of
one machine on its own disks, and between machines where the filesystem passes such locks on (NFS 4, NFS 3 with lockd,
Lustre mounted with flock). Where it has none, a warning says so; object stores mounted as folders may say nothing and
keep none.
"""

import contextlib
import errno
import os
import platform
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path

from dept_vl.registry import DeptVLWarning

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class FolderInUse(ValueError):
    """A run folder in which another process works."""


class NoLocks(OSError):
    """A system that cannot lock a run folder."""


@contextlib.contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Within it no other process enters for the same folder, which need not exist. Not for use by two threads.

    Raises:
        FolderInUse: naming the process that is there.
        NoLocks: the system has no POSIX locks.
        OSError: the place for the lock cannot be written.
    """
    if fcntl is None:
        raise NoLocks(
            f"{folder}: wanted Linux or macOS, whose locks keep a second run out of a run folder, given "
            f"{platform.system()}, where adapters load and predict but nothing trains"
        )
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside the folder, for a run moves an older folder aside; inside it where it cannot be moved.
    path = (folder.parent if os.access(folder.parent, os.W_OK) else folder) / f".{folder.name}.running"
    file = _take(path, folder)
    try:
        os.ftruncate(file, 0)
        os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)  # still locked: who has opened it sees that it is gone, and opens it anew
        os.close(file)


def _take(path: Path, folder: Path) -> int:
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                holder = os.pread(file, 200, 0).decode(errors="replace") or "another process"
                os.close(file)
                raise FolderInUse(
                    f"{folder}: wanted a folder in which no run is going on, given one in which {holder} works ({path})"
                ) from error
            warnings.warn(
                f"{path}: no lock here ({error.strerror}): nothing keeps a second run away", DeptVLWarning, stacklevel=4
            )
            return file
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), path.stat()):
                return file
        os.close(file)
