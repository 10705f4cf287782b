"""Find the files of a data root: annotations under their official names, images in their folders.

An annotation file stands in the root, in `annotations/` or in `vqa/`, plain or gzipped; data/README.md has the layout.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from dept_vl.untrusted.bad_file import BadFile, listed

FOLDERS = ("", "annotations", "vqa")
YEARS = ("train2014", "val2014", "train2017", "val2017")  # COCO's folders of images
IMAGE_FOLDERS = ("images", *YEARS)  # then the same sub-folders as Karpathy's `filepath` names
_COCO_NAME = re.compile(r"(?:COCO_[a-z]+20\d\d_)?(\d{12}\.jpg)")


class MissingFile(ValueError):
    """A data root lacks a file that the asked-for split needs."""


class MissingImages(BadFile):
    """Annotated images that are not on disk; `names` holds them all."""

    def __init__(self, file: Path | str, wanted: str, given: str, names: tuple[str, ...] = ()) -> None:
        super().__init__(file, wanted, given)
        self.args = (file, wanted, given, names)  # what pickle rebuilds it from
        self.names = names


def check_root(root: Path) -> None:
    """Raises: MissingFile where there is no such folder."""
    if not root.is_dir():
        wanted = "a folder laid out as in data/README.md"
        raise MissingFile(f"{root}: wanted {wanted}, given no such folder{hub_hint(root)}")


def hub_hint(root: Path | str) -> str:
    """What to type where a path that is not there looks like a name on the hub; empty where it does not."""
    like = re.fullmatch(r"[\w-]+/[\w.-]+", str(root)) and not Path(root).parent.is_dir()
    return f"; a data set of the hub is named hub:{root}" if like else ""


def one_copy(path: Path) -> Path | None:
    """The file, plain or with `.gz`; None where neither is there. Raises: BadFile where both are."""
    copies = [each for each in (path, path.with_name(f"{path.name}.gz")) if each.is_file()]
    if len(copies) > 1:
        raise BadFile(copies[1], f"one copy of {path.name}", f"a second one beside {path}")
    return copies[0] if copies else None


def matching_files(root: Path, pattern: str) -> list[Path]:
    """Files of `root` and its annotation folders whose name matches `pattern`, plain or with `.gz`, by name.

    Raises: MissingFile when there is no such folder; BadFile when one name stands there twice.
    """
    check_root(root)
    found: dict[str, Path] = {}
    for folder in FOLDERS:
        for path in sorted([*(root / folder).glob(pattern), *(root / folder).glob(f"{pattern}.gz")]):
            name = path.name.removesuffix(".gz")
            if name in found:
                raise BadFile(path, f"one copy of {name}", f"a second one beside {found[name]}")
            found[name] = path
    return [found[name] for name in sorted(found)]


def find_file(root: Path, name: str) -> Path | None:
    """The one file called `name` (or `name`.gz) in the data root, or None."""
    return next(iter(matching_files(root, name)), None)


def require_file(root: Path, name: str, why: str) -> Path:
    """As `find_file`, but its absence is a MissingFile that says what it was wanted for."""
    path = find_file(root, name)
    if path is None:
        places = ", ".join(str(root / folder / name) for folder in FOLDERS)
        raise MissingFile(f"{name}: wanted {why}; looked for {places}, each also as .gz; see data/README.md")
    return path


def image_folders(root: Path, filepaths: Iterable[str] = ()) -> list[Path]:
    """The existing folders that may hold images, in the order in which they are searched."""
    inside = dict.fromkeys([*YEARS, *sorted(filepaths)])
    candidates = [root / name for name in IMAGE_FOLDERS]
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
    """The path of every named image, by the name of another year where COCO's own is not there.

    Raises: MissingImages, with the count and the names, when any is not there.
    """
    folders = image_folders(root, filepaths)
    present = list_images(folders)
    names = list(dict.fromkeys(names))
    found = {name: present.get(name) or _of_another_year(name, present) for name in names}
    paths = {name: path for name, path in found.items() if path is not None}
    missing = tuple(name for name in names if name not in paths)
    if missing:
        places = ", ".join(str(folder.relative_to(root)) for folder in folders) or "no image folder at all"
        others = list(dict.fromkeys(other for name in missing for other in other_years(name)))
        shown = ", ".join(others[:3]) + ", ..." * (len(others) > 3)
        also = f", nor exactly one each under COCO's other names ({shown})" if others else ""
        given = f"{listed(missing)} not found in {places}{also}"
        raise MissingImages(root, f"the files of {len(names):,} annotated images", given, missing)
    return paths


def other_years(name: str) -> list[str]:
    """What COCO calls the same image in other years: 2014's names tell train from val, 2017's are the number alone."""
    match = _COCO_NAME.fullmatch(name)
    if match is None:
        return []
    return [match[1]] if name != match[1] else [f"COCO_{year}_{name}" for year in YEARS[:2]]


def _of_another_year(name: str, present: Mapping[str, Path]) -> Path | None:
    """Only where one name alone is there: in a set of one's own, train and val may count their images each from 1."""
    found = [present[each] for each in other_years(name) if each in present]
    return found[0] if len(found) == 1 else None
