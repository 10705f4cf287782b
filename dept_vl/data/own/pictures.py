"""Find the picture that a cell means: a path, bytes, base64, or a list of one of these. From then on it is a file.

Bytes and base64 are written once, whole, under the sha256 of their bytes. Each picture's header is read, and one that
does not end as its format ends is decoded, so that a cut one is known by its row; nothing is downloaded.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dept_vl.data.own.bad_rows import BadCell
from dept_vl.data.own.cells import described, is_missing
from dept_vl.registry import did_you_mean
from dept_vl.untrusted.images import UnreadableImage, check_image, open_image
from dept_vl.untrusted.whole_files import write_whole

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".jp2")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_DATA = re.compile(r"data:image/[\w.+-]+;base64,", re.IGNORECASE)
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]+={0,2}")
_BASE64_OF = ("/9j/", "iVBORw0KGgo", "R0lGOD", "UklGR", "SUkqA", "TU0AK")  # how JPEG, PNG, GIF, WebP, TIFF begin
_SURELY_BASE64 = 256  # characters of a cell that no path has without a dot
_STARTS = {b"\xff\xd8": ".jpg", b"\x89PNG": ".png", b"GIF8": ".gif", b"RIFF": ".webp", b"BM": ".bmp", b"P6": ".ppm"}
_ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89PNG": b"IEND\xaeB`\x82"}
_TAIL = 64  # bytes within which a whole file has its format's end
_MOST_LISTED = 5_000  # files of a folder among which a missing one is looked for by a close name


class Pictures:
    """root: the folder that keys are relative to. cache: the folder of pictures that came as bytes or base64.

    `paths` has the file of each key so far: the path below `root`, or the whole one where it lies elsewhere; of bytes
    their sha256. `backslashes` counts the paths written as Windows writes them.
    """

    def __init__(self, root: Path, cache: Path) -> None:
        self.root, self.cache = root, cache
        self.paths: dict[str, Path] = {}
        self.backslashes = 0
        self._known: dict[tuple[str, Sequence[Path]], str] = {}

    def key(self, value: Any, folders: Sequence[Path]) -> str:
        """The key of the picture that `value` means. folders: where a relative path may start. Raises: BadCell."""
        if isinstance(value, list | tuple):
            if len(value) != 1:
                raise BadCell("image", "one image a row", f"{len(value)} in a list")
            value = value[0]
        if isinstance(value, Mapping) and ("bytes" in value or "path" in value):  # as an Image feature has it
            value = value.get("path") if value.get("bytes") is None else value["bytes"]
        if is_missing(value):
            raise BadCell("image", "an image: a path, bytes or base64", described(value))
        if isinstance(value, bytes):
            return self._of_bytes(value, f"{len(value):,} bytes")
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            raise BadCell("image", "an image: a path, bytes or base64", described(value))
        text = value.strip()
        if text.startswith("[") and len(names := re.findall(r"""["']([^"']+)["']""", text)) > 1:
            raise BadCell("image", "one image a row", f"{len(names)} in a list")
        if match := _DATA.match(text):
            return self._of_base64(text[match.end() :])
        if _URL.match(text):
            wanted = "a path, bytes or base64, for nothing is downloaded: fetch the picture and write its path"
            raise BadCell("image", wanted, f"the address {text:.200}")
        if _is_base64(text):
            return self._of_base64(text)
        known = (text, tuple(folders))
        if known not in self._known:
            self._known[known] = self._of_path(text, folders)
        return self._known[known]

    def _of_base64(self, text: str) -> str:
        text = "".join(text.split())
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadCell("image", "whole base64", f"{len(text):,} characters, cut off or damaged ({error})") from error
        return self._of_bytes(data, f"{len(text):,} characters of base64")

    def _of_bytes(self, data: bytes, what: str) -> str:
        digest = hashlib.sha256(data).hexdigest()
        name = digest + next((suffix for start, suffix in _STARTS.items() if data.startswith(start)), ".img")
        path = self.cache / digest[:2] / name
        if name not in self.paths and not path.is_file():
            try:
                open_image(data)
            except UnreadableImage as error:
                raise BadCell("image", "a whole picture", f"{what}: {error.reason}") from error
            write_whole(path, data)
        self.paths[name] = path
        return name

    def _of_path(self, text: str, folders: Sequence[Path]) -> str:
        try:
            path = self._find(text, folders)
            is_folder = path.is_dir()
        except OSError as error:  # a name too long, or a folder that may not be read
            raise BadCell("image", "a path or base64", f"{text!r:.100} ({error.strerror})") from error
        if is_folder:
            raise BadCell("image", "an image file", f"the folder {path}")
        key = self._key(path)
        if key not in self.paths:
            try:
                _check_whole(path)
            except UnreadableImage as error:
                raise BadCell("image", "a whole image file", f"{path}: {error.reason}") from error
            self.paths[key] = path
        return key

    def _find(self, text: str, folders: Sequence[Path]) -> Path:
        here = f"paths below {folders[0]}, or task.image_root with the folder of the pictures"
        if Path(text).is_absolute():
            if Path(text).exists():
                return Path(text)
            if (parent := Path(text).parent).is_dir():
                close = _close_name(Path(text).name, [parent])
                raise BadCell("image", "an image file", f"{text!r:.200}, not found in its folder.{close}")
            raise BadCell("image", here, f"{text!r}, which this machine has not.{_same_name(text, folders)}")
        if _WINDOWS.match(text):
            raise BadCell("image", here, f"the path {text!r} of another machine.{_same_name(text, folders)}")
        for each in dict.fromkeys((text, text.replace("\\", "/"))):
            if os.path.normpath(each).split(os.sep)[0] == os.pardir:
                raise BadCell("image", f"{here}, or a whole path", f"{text!r}, which leaves the folder")
            for folder in folders:
                if found := _existing(folder / each):
                    self.backslashes += each != text
                    return found
        looked = ", ".join(map(str, folders))
        raise BadCell("image", "an image file", f"{text!r:.200}, not found in {looked}.{_close_name(text, folders)}")

    def _key(self, path: Path) -> str:
        whole, root = Path(os.path.abspath(path)), os.path.abspath(self.root)
        return (whole.relative_to(root) if whole.is_relative_to(root) else whole).as_posix()


def _is_base64(text: str) -> bool:
    likely = text.startswith(_BASE64_OF) and len(text) > 40
    return (likely or len(text) >= _SURELY_BASE64) and _BASE64.fullmatch(text) is not None


def _existing(path: Path) -> Path | None:
    """The file, or the one of that name with an image's ending, as where a table has ids alone."""
    if path.exists():
        return path
    if path.suffix.lower() in SUFFIXES:
        return None
    return next((each for suffix in SUFFIXES if (each := path.with_name(path.name + suffix)).is_file()), None)


def _check_whole(path: Path) -> None:
    """Read the header; decode where the end is not the format's. Raises: UnreadableImage."""
    check_image(path)
    with path.open("rb") as file:
        start = file.read(8)
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
        tail = file.read()
    end = next((end for begin, end in _ENDS.items() if start.startswith(begin)), b"")
    if end not in tail:
        open_image(path)


def _same_name(text: str, folders: Sequence[Path]) -> str:
    name = text.replace("\\", "/").rpartition("/")[2]
    found = next((folder / name for folder in folders if name and (folder / name).is_file()), None)
    return f" {found} is here: write {name!r}" if found else ""


def _close_name(text: str, folders: Sequence[Path]) -> str:
    """A file of a close name in the folder that the path means."""
    inside, _, name = text.replace("\\", "/").rpartition("/")
    names: list[str] = []
    for folder in folders:
        if (folder / inside).is_dir() and len(names) < _MOST_LISTED:
            names.extend(sorted(os.listdir(folder / inside))[:_MOST_LISTED])
    return did_you_mean(name, names)
