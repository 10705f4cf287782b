"""Where an image file lies inside a data root; a name that points out of the root is refused."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from dept_vl.data.annotation_files import BadAnnotation, listed

FOLDERS = ("images", "train2014", "val2014")  # then the same sub-folders as Karpathy's `filepath` names


class MissingImages(BadAnnotation):
    """Annotated images that are not on disk; `names` holds them all."""

    def __init__(self, file: Path | str, wanted: str, given: str, names: tuple[str, ...] = ()) -> None:
        super().__init__(file, wanted, given)
        self.args = (file, wanted, given, names)  # what pickle rebuilds it from
        self.names = names


def check_file_name(file: Path | str, name: str) -> str:
    """`name`, when it is a bare file name; `../x.jpg`, `/x.jpg` and `a/x.jpg` are refused."""
    if name in ("", ".", "..") or any(mark in name for mark in "/\\\0"):
        raise BadAnnotation(file, "a bare image file name, without a folder", f"{name!r:.300}")
    return name


def check_folder(file: Path | str, folder: str) -> str:
    """`folder`, when it stays inside the image root; absolute paths and `..` are refused."""
    path = PurePosixPath(folder)
    if len(folder) > 255 or path.is_absolute() or ".." in path.parts or any(mark in folder for mark in "\\:\0"):
        raise BadAnnotation(file, "an image folder inside the data root", f"{folder!r:.300}")
    return folder


def image_folders(root: Path, filepaths: Iterable[str] = ()) -> list[Path]:
    """The existing folders that may hold images, in the order in which they are searched."""
    inside = dict.fromkeys(["train2014", "val2014", *sorted(filepaths)])
    candidates = [root / name for name in FOLDERS]
    candidates += [root / base / name for name in inside for base in ("images", "")]
    return [folder for folder in dict.fromkeys(candidates) if folder.is_dir()]


def list_images(folders: Iterable[Path]) -> dict[str, Path]:
    """File name to path. Each folder is listed once, which for 123,287 images is far cheaper than asking
    for each; the first folder that holds a name wins."""
    found: dict[str, Path] = {}
    for folder in folders:
        with os.scandir(folder) as listing:
            for entry in listing:
                if entry.name not in found and entry.is_file():
                    found[entry.name] = folder / entry.name
    return found


def locate_images(root: Path, names: Iterable[str], filepaths: Iterable[str] = ()) -> dict[str, Path]:
    """The path of every named image.

    Raises: MissingImages, with the count and the names, when any is not there.
    """
    folders = image_folders(root, filepaths)
    present = list_images(folders)
    names = list(dict.fromkeys(names))
    missing = tuple(name for name in names if name not in present)
    if missing:
        places = ", ".join(str(folder.relative_to(root)) for folder in folders) or "no image folder at all"
        given = f"{listed(missing)} not found in {places}"
        raise MissingImages(root, f"the files of {len(names):,} annotated images", given, missing)
    return {name: present[name] for name in names}
