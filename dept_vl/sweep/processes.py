"""Which process does a run, whether it still lives, and a lock that ends with the process that holds it."""

import fcntl
import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Any


class FileLock:
    """An exclusive lock between processes; the system takes it from a process that dies, so none is ever left over."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def acquire(self) -> bool:
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> "FileLock":
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def this_process() -> dict[str, Any]:
    """host, pid, and when the process started (in clock ticks since the machine did; None where /proc is missing)."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid())}


def is_gone(process: dict[str, Any]) -> bool:
    """Whether a process of this host is dead; of another host nothing can be told, so it counts as alive.

    A process of the same number that started at another time is a different one.
    """
    if process["host"] != socket.gethostname():
        return False
    try:
        os.kill(process["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # alive, and somebody else's
    return process["started"] is not None and _started(process["pid"]) != process["started"]


def _started(pid: int) -> int | None:
    """Field 22 of /proc/<pid>/stat; None for a process that is dead and only waits for its parent."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # the name may hold blanks
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])
