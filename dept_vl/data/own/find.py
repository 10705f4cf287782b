"""Find the tables of a root: one file, a folder of them, a data set of the `datasets` library, or pictures with texts.

rows.csv                                     one file, whatever its format
train.jsonl, val.jsonl, test.jsonl           files named by their split, here or in data/
dataset_dict.json, state.json                what `save_to_disk` wrote
metadata.csv with pictures                   an image folder, here or in train/, val/, test/
a.jpg, a.txt                                 captions beside their pictures, likewise
hub:NAME, hub:NAME:CONFIGURATION             a data set of the hub, which needs the network once
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dept_vl.data.data_root import MissingFile
from dept_vl.data.own.cells import SPLITS
from dept_vl.data.own.columns import Family
from dept_vl.data.own.pictures import SUFFIXES
from dept_vl.data.own.table import ENDINGS, Cells, OwnTable, ending, image_folders, labelled, read_table
from dept_vl.data.text_sources import HubError, all_shards
from dept_vl.untrusted.bad_file import BadFile, listed, reason_of
from dept_vl.untrusted.gzip_bytes import read_bytes

HUB = "hub"
_SAVED = ("dataset_dict.json", "state.json")
_NOT_ROWS = re.compile(r"(dataset_infos?|dataset_dict|state|config)\.json|skipped_rows\.jsonl")
_BATCH = 64  # rows that are taken from a data set at a time


def find_tables(root: Path, family: Family, image_root: Path | None = None) -> list[OwnTable]:
    """Raises: MissingFile where nothing here is a table; BadFile where it is not clear which files belong together."""
    if root.is_file():
        return [read_table(root, root=root.parent, image_root=image_root)]
    if any((root / name).is_file() for name in _SAVED):
        return _saved_tables(root, image_root)
    if files := table_files(root):
        return [read_table(path, root=root, split=split, image_root=image_root) for path, split in files]
    if tables := list(_text_tables(root)):
        if family == "vqa":
            wanted = "questions and answers, as a table beside the pictures"
            raise BadFile(root, wanted, "pictures with a .txt each, which are captions: --task caption")
        return tables
    wanted = f"a table ({', '.join(ENDINGS)}), an image folder with metadata.csv, or pictures with a .txt each"
    raise MissingFile(f"{root}: wanted {wanted}, given none of them; see docs/own_data.md")


def hub_tables(name: str, image_root: Path | None = None) -> list[OwnTable]:
    """name: NAME or NAME:CONFIGURATION. Raises: HubError."""
    import datasets  # here, since it takes a second to import

    repository, _, configuration = name.partition(":")
    try:
        loaded = datasets.load_dataset(repository, configuration or None)
    except Exception as error:  # of the network, the file system, the hub's client, arrow and `datasets` itself
        reason = f"{type(error).__name__}: {reason_of(error)}"
        raise HubError(
            f"hub:{name}: wanted a data set from the hub, given {reason}. It needs the network, or the set in the "
            "cache and HF_HUB_OFFLINE=1"
        ) from error
    return [_set_table(f"{HUB}:{name}", split, each, Path(), image_root) for split, each in loaded.items()]


def holds_tables(root: Path) -> bool:
    """Whether a folder holds something that `find_tables` reads; no file is read."""
    saved = any((root / name).is_file() for name in _SAVED)
    return saved or bool(_named(root)) or next(_texts_beside(root), None) is not None


def split_in_name(name: str) -> str | None:
    """train, val or test of `train-00000-of-00002`, `my_dev` or `validation`; None where there is none, or several."""
    found = {SPLITS[word] for word in re.split(r"[-_. ]", name.lower()) if word in SPLITS}
    return found.pop() if len(found) == 1 else None


def table_files(root: Path) -> list[tuple[Path, str | None]]:
    """The tables of a folder with their splits. Raises: BadFile for several that no split's name tells apart."""
    files = _named(root)
    nameless = [path.name for path, split in files if split is None]
    shards = all(ending(path) == ".parquet" for path, _ in files)
    if nameless and len(files) > 1 and not (shards and len(nameless) == len(files)):
        wanted = "one table, or tables named train, val and test"
        given = f"{listed(nameless)} beside each other: give the file as task.root, or rename them"
        raise BadFile(root, wanted, given)
    for each in dict.fromkeys(split for _, split in files) if shards else ():
        all_shards([path for path, split in files if split == each])
    return files


def _named(root: Path) -> list[tuple[Path, str | None]]:
    for folder in (root, root / "data"):
        if files := _in(folder):
            metadata = [path for path in files if path.name.startswith("metadata.")]
            return [(path, split_in_name(path.name)) for path in metadata or files]
    return [(path, split) for folder, split in _split_folders(root) for path in _in(folder)]


def _in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    files = (path for path in sorted(folder.iterdir()) if ending(path) in ENDINGS and path.is_file())
    return [path for path in files if not _NOT_ROWS.fullmatch(path.name)]


def _split_folders(root: Path) -> list[tuple[Path, str]]:
    return [(path, SPLITS[path.name.lower()]) for path in sorted(root.iterdir()) if _is_split_folder(path)]


def _is_split_folder(path: Path) -> bool:
    return path.name.lower() in SPLITS and path.is_dir()


def _saved_tables(root: Path, image_root: Path | None) -> list[OwnTable]:
    import datasets  # here, since it takes a second to import

    try:
        loaded = datasets.load_from_disk(str(root))
    except Exception as error:  # whatever arrow and `datasets` make of a damaged folder
        reason = f"{type(error).__name__}: {reason_of(error)}"
        raise BadFile(root, "a data set that `save_to_disk` wrote", reason) from error
    splits = loaded if isinstance(loaded, datasets.DatasetDict) else {None: loaded}
    return [_set_table(str(root), split, each, root, image_root) for split, each in splits.items()]


def _set_table(where: str, split: str | None, rows: Any, folder: Path, image_root: Path | None) -> OwnTable:
    """Pictures stay as they are stored: bytes or a path."""
    name = None if split is None else split_in_name(str(split))
    if split is not None and name is None:
        raise BadFile(where, f"splits named {', '.join(SPLITS)}", f"{str(split)!r}")

    def stored() -> Iterator[Cells]:
        for batch in rows.with_format("arrow").iter(_BATCH):
            yield from batch.to_pylist()

    return OwnTable(
        file=where if split is None else f"{where}, split {split}",
        columns=tuple(rows.column_names),
        rows=lambda: enumerate(labelled(stored(), rows.features), 1),
        folders=image_folders(folder, image_root),
        name=str(split or "row"),
        split=name,
    )


def _texts_beside(root: Path) -> Iterator[tuple[Path, str | None]]:
    """Folders with a picture that has a .txt beside it, and their splits."""
    places: list[tuple[Path, str | None]] = [(root, None), (root / "images", None), *_split_folders(root)]
    for folder, split in places:
        if folder.is_dir() and any(
            name.endswith(".txt") and any((folder / (name[:-4] + each)).is_file() for each in SUFFIXES)
            for name in os.listdir(folder)
        ):
            yield folder, split


def _text_tables(root: Path) -> Iterator[OwnTable]:
    for folder, split in _texts_beside(root):
        name = folder.relative_to(root).as_posix()
        yield OwnTable(folder, ("image", "captions"), _captioned(folder), (folder,), name, split, "picture")


def _captioned(folder: Path) -> Callable[[], Iterator[tuple[int, Cells | BadFile]]]:
    """Each picture with the lines of its .txt as captions, and what is wrong where one is without the other."""
    files = sorted(folder.iterdir())
    pictures = [path.name for path in files if path.suffix.lower() in SUFFIXES]
    with_picture = {Path(name).stem for name in pictures}
    alone = [path for path in files if path.suffix == ".txt" and path.stem not in with_picture]

    def rows() -> Iterator[tuple[int, Cells | BadFile]]:
        for number, picture in enumerate(pictures, 1):
            text = (folder / picture).with_suffix(".txt")
            if not text.is_file():
                yield number, BadFile(folder / picture, f"its caption in {text.name}", "no such file")
                continue
            try:
                lines = read_bytes(text).decode("utf-8").splitlines()
            except UnicodeDecodeError as error:
                yield number, BadFile(text, "UTF-8 text", f"bytes that are not ({error.reason})")
                continue
            yield number, {"image": picture, "captions": [line for line in map(str.strip, lines) if line]}
        for number, text in enumerate(alone, len(pictures) + 1):
            yield number, BadFile(text, f"a picture of that name beside {text.name}", "none: add it, or move the file")

    return rows
