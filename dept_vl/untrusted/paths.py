"""Check names and folders that an untrusted file or request gives: none may point out of its root."""

import os
import stat
from pathlib import Path, PurePosixPath

from dept_vl.untrusted.bad_file import BadFile


def check_file_name(file: Path | str, name: str) -> str:
    """Return `name` if it is a bare file name. Raises: BadFile for `../x.jpg`, `/x.jpg`, `a/x.jpg` and the like."""
    if name in ("", ".", "..") or any(mark in name for mark in "/\\\0"):
        raise BadFile(file, "a bare image file name, without a folder", f"{name!r:.300}")
    return name


def check_folder(file: Path | str, folder: str) -> str:
    """Return `folder` if it stays inside the image root. Raises: BadFile for absolute paths and `..`."""
    if _leads_out(folder) or len(folder) > 255:
        raise BadFile(file, "an image folder inside the data root", f"{folder!r:.300}")
    return folder


def _leads_out(name: str) -> bool:
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or any(mark in name for mark in "\\:\0")


def read_below(root: Path, name: str, most: int) -> bytes:
    """The bytes of a regular file below `root`, at most `most`. No symbolic link below it is followed, so that nothing
    outside is read, whoever changes the folders meanwhile. POSIX alone.

    Raises: BadFile naming `name`, never `root`.
    """
    parts = PurePosixPath(name).parts
    if not parts or _leads_out(name):
        raise BadFile(name, "the path of a file below the root", "another")
    opened = [os.open(root, os.O_RDONLY | os.O_DIRECTORY)]
    try:
        for part in parts[:-1]:
            opened.append(os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=opened[-1]))
        opened.append(os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=opened[-1]))
        facts = os.fstat(opened[-1])
        if not stat.S_ISREG(facts.st_mode):
            raise BadFile(name, "a file below the root", "something else")
        if facts.st_size > most:
            raise BadFile(name, f"a file of at most {most:,} bytes", f"{facts.st_size:,}")
        with os.fdopen(opened.pop(), "rb") as file:
            return file.read(most)
    except OSError as error:
        raise BadFile(name, "a file below the root that can be read", "none of this name") from error
    finally:
        for each in opened:
            os.close(each)


def folder_below(root: Path, name: str, most: int) -> Path:
    """The folder `name` below `root`, whose files have together at most `most` bytes. Neither it nor any file in it
    leads out of the root by a symbolic link. Raises: BadFile naming `name`, never `root`."""
    if _leads_out(name):
        raise BadFile(name, "the path of a folder below the root", "another")
    try:
        root = root.resolve()
        folder = (root / name).resolve()
        if not folder.is_relative_to(root) or not folder.is_dir():
            raise BadFile(name, "a folder below the root", "none of this name")
        files = [folder, *folder.rglob("*")]
        if not all(each.resolve().is_relative_to(root) for each in files):
            raise BadFile(name, "a folder whose files lie below the root", "one with a link out of it")
        size = sum(each.stat().st_size for each in files if each.is_file())
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise BadFile(name, "a folder below the root that can be read", "another") from error
    if size > most:
        raise BadFile(name, f"a folder of at most {most:,} bytes", f"{size:,}")
    return folder
