"""Small files written whole: all of them together, or what was there before."""

import contextlib
import errno
import os
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: nobody can tell a killed writer's file, so none is ever abandoned
    fcntl = None  # type: ignore[assignment]


def make_folder(path: Path) -> None:
    """Make the folder of a file. Raises: OSError naming it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        reason = f"wanted a folder for {path.name}, given a file"
        raise NotADirectoryError(errno.ENOTDIR, reason, str(path.parent)) from error


def check_writable(path: Path) -> None:
    """Fail before the work whose outcome is to be written to this file, whole; its folder is made.

    Raises: OSError naming the path.
    """
    make_folder(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "wanted a file to write, given a folder", str(path))
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OSError(error.errno, f"wanted a folder that can be written, for {path.name}", str(path.parent)) from error


def write_whole(path: Path, data: bytes) -> None:
    """Write one file whole; see `write_files_whole`."""
    write_files_whole(path.parent, {path.name: data})


def write_files_whole(folder: Path, files: Mapping[str, bytes], *, key: str | None = None) -> None:
    """Write every file under another name, make sure that the disk has it, and only then rename them all.

    Without the file named `key` no reader takes the others: the older one goes before the first is renamed and the new
    one comes last, so a kill in between leaves nothing that loads rather than files of both.

    Raises:
        OSError: naming the folder; the older files are as they were, but for the key where renaming itself fails, and a
            folder made here is gone again.
    """
    is_new = not folder.exists()
    temporaries = {name: folder / f".{name}.{os.getpid()}.{uuid.uuid4().hex}.tmp" for name in files}
    whole, kept = False, "what was there before is kept"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as opened:
            for name, data in files.items():
                file = opened.enter_context(temporaries[name].open("wb"))
                if fcntl is not None:
                    with contextlib.suppress(OSError):  # no locks on this filesystem: then nothing is ever abandoned
                        fcntl.flock(file, fcntl.LOCK_EX)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())  # a full disk may only show here
            if fcntl is None:
                opened.close()  # Windows renames no open file
            if key is not None:
                (folder / key).unlink(missing_ok=True)
                kept = f"what was there before has lost its {key}"
            for name in sorted(files, key=lambda name: name == key):
                os.replace(temporaries[name], folder / name)
        whole = True
    except OSError as error:
        wanted = f"{', '.join(files)} ({sum(map(len, files.values())):,} bytes)"
        reason = f"could not save {wanted}: {error.strerror or error}; {kept}"
        raise OSError(error.errno, reason, str(folder)) from error
    finally:
        if folder.is_dir():
            for temporary in temporaries.values():
                with contextlib.suppress(OSError):  # not there, or a disk that has become read-only
                    temporary.unlink()
            if is_new and not whole and not any(folder.iterdir()):
                folder.rmdir()


def remove_abandoned(folder: Path) -> None:
    """Delete temporary files that a killed writer left: those with bytes in them that nobody has locked. Their age says
    nothing, for a clock may jump."""
    if fcntl is None:
        return
    for path in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):  # its writer is at work or has just renamed it
            with path.open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(file.fileno()).st_size:  # an empty one may be about to be locked
                    path.unlink()
