"""Check names and folders that an untrusted file gives: none may point out of its root."""

from pathlib import Path, PurePosixPath

from dept_vl.untrusted.bad_file import BadFile


def check_file_name(file: Path | str, name: str) -> str:
    """Return `name` if it is a bare file name. Raises: BadFile for `../x.jpg`, `/x.jpg`, `a/x.jpg` and the like."""
    if name in ("", ".", "..") or any(mark in name for mark in "/\\\0"):
        raise BadFile(file, "a bare image file name, without a folder", f"{name!r:.300}")
    return name


def check_folder(file: Path | str, folder: str) -> str:
    """Return `folder` if it stays inside the image root. Raises: BadFile for absolute paths and `..`."""
    path = PurePosixPath(folder)
    if len(folder) > 255 or path.is_absolute() or ".." in path.parts or any(mark in folder for mark in "\\:\0"):
        raise BadFile(file, "an image folder inside the data root", f"{folder!r:.300}")
    return folder
