"""Finding and opening annotation files: every way in which one can be broken becomes a named error.

Nothing here knows what a question or a caption is. A file is found under its official name in the data
root, in `annotations/` or in `vqa/`, plain or gzipped, and its entries are checked where they are read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from dept_vl.untrusted.gzip_bytes import BadGzip, unpack
from dept_vl.untrusted.json_text import NotJson, parse_json

FOLDERS = ("", "annotations", "vqa")  # where, inside a data root, an annotation file may stand
_SPACE = re.compile(r"[ \t\n\r]*")


class BadAnnotation(ValueError):
    """An annotation file does not say what its format promises: names the file, the wanted, the given."""

    def __init__(self, file: Path | str, wanted: str, given: str) -> None:
        super().__init__(file, wanted, given)
        self.file, self.wanted, self.given = file, wanted, given

    def __str__(self) -> str:
        return f"{self.file}: wanted {self.wanted}, given {self.given}"


class MissingFile(ValueError):
    """A data root lacks a file that the asked-for split needs."""


def listed(items: Iterable[object], show: int = 5) -> str:
    """`1,204 (3, 5, 8, ...)`: how many there are and which come first."""
    items = list(items)
    names = ", ".join(str(item) for item in items[:show])
    return f"{len(items):,} ({names}{', ...' if len(items) > show else ''})"


def matching_files(root: Path, pattern: str) -> list[Path]:
    """Files of `root` and its annotation folders whose name matches `pattern`, plain or with `.gz`, by name.

    Raises: MissingFile when there is no such folder; BadAnnotation when one name stands there twice.
    """
    if not root.is_dir():
        raise MissingFile(f"{root}: wanted a folder laid out as in data/README.md, given no such folder")
    found: dict[str, Path] = {}
    for folder in FOLDERS:
        for path in sorted([*(root / folder).glob(pattern), *(root / folder).glob(f"{pattern}.gz")]):
            name = path.name.removesuffix(".gz")
            if name in found:
                raise BadAnnotation(path, f"one copy of {name}", f"a second one beside {found[name]}")
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


def read_json(path: Path | str, top: type, object_hook: Callable[[dict], Any] | None = None) -> Any:
    """Parse a JSON file (`.gz` allowed) whose top level must be a `top`. object_hook: replaces each object while it is
    parsed."""
    return _parse(path, _read_text(Path(path)), top, object_hook)


def read_entries(path: Path | str, key: str) -> Iterator[Any]:
    """The entries of the list under `key`, parsed one at a time: the ten million answer objects of a million questions
    are never in memory together, and no function is called for each of them.

    Raises: what `read_json` and `entries` do, in the same words, though behind the entries before the broken place.
    """
    text, scan, number = _read_text(Path(path)), json.JSONDecoder().scan_once, 0
    try:
        place, name = _behind(text, 0, "{"), None
        while name != key:  # the members in front of the list
            if name is not None:
                place = _behind(text, scan(text, _behind(text, place))[1], ",")
            name, place = scan(text, _behind(text, place))
            if type(name) is not str:
                raise ValueError
            place = _behind(text, place, ":")
        place, comma = _behind(text, place, "["), ","
        while comma == ",":
            entry, place = scan(text, _behind(text, place))
            yield entry
            number += 1
            place = _behind(text, place) + 1
            comma = text[place - 1]
        if comma == "]":
            json.loads('{"": 0' + text[place:])  # the members behind the list
            return
    except (StopIteration, IndexError, ValueError, RecursionError):
        pass
    yield from entries(path, _parse(path, text, dict), key)[number:]  # tells what is wrong


def _behind(text: str, place: int, mark: str = "") -> int:
    """The place behind white space and then `mark`. Raises: ValueError where something else stands there."""
    place = _SPACE.match(text, place).end()
    if not text.startswith(mark, place):
        raise ValueError
    return place + len(mark)


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
        return (unpack(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except BadGzip as error:
        raise BadAnnotation(path, "a whole gzip file", f"{error}") from error
    except UnicodeDecodeError as error:
        raise BadAnnotation(path, "UTF-8 text", f"bytes that are not ({error})") from error
    except OSError as error:
        raise BadAnnotation(path, "a readable file", f"{type(error).__name__} ({error.strerror})") from error


def _parse(path: Path | str, text: str, top: type, object_hook: Callable[[dict], Any] | None = None) -> Any:
    try:
        value = parse_json(text, object_hook)
    except NotJson as error:
        raise BadAnnotation(path, "a whole JSON file", f"one {error}") from error
    if type(value) is not top:
        raise BadAnnotation(path, f"{_json_name(top)} at the top", _json_name(type(value)))
    return value


def entries(file: Path | str, document: dict, key: str) -> list[dict]:
    """`document[key]`, checked to be a list with at least one entry."""
    if key not in document:
        raise BadAnnotation(file, f"the key {key!r} at the top", f"only {sorted(document)}")
    value = document[key]
    if type(value) is not list:
        raise BadAnnotation(file, f"a list under {key!r}", _json_name(type(value)))
    if not value:
        raise BadAnnotation(file, f"at least one entry under {key!r}", "an empty list")
    return value


def field(file: Path | str, place: tuple[str, int], entry: Any, key: str, kind: type) -> Any:
    """`entry[key]`, checked to be exactly a `kind`. place: the list and the index, for the message."""
    if type(entry) is dict and type(value := entry.get(key)) is kind:
        return value
    where = f"{place[0]}[{place[1]}]"
    if type(entry) is not dict:
        raise BadAnnotation(file, f"an object at {where}", _json_name(type(entry)))
    if key not in entry:
        raise BadAnnotation(file, f"the key {key!r} in {where}", f"only {sorted(entry)}")
    raise BadAnnotation(file, f"{_json_name(kind)} at {where}.{key}", f"{entry[key]!r:.80}")


class Fields:
    """Several of an entry's values at once, each checked as `field` does; millions of entries are read so."""

    def __init__(self, **kinds: type) -> None:
        self._kinds, self._types, self._get = kinds, list(kinds.values()), itemgetter(*kinds)

    def __call__(self, file: Path | str, place: tuple[str, int], entry: Any) -> tuple[Any, ...]:
        if type(entry) is dict:
            try:
                values = self._get(entry)
            except KeyError:
                values = ()
            if [*map(type, values)] == self._types:
                return values
        return tuple(field(file, place, entry, key, kind) for key, kind in self._kinds.items())


def ten_answers(file: Path | str, place: tuple[str, int], answers: Sequence[object]) -> tuple[str, ...]:
    """The answers of one question: ten strings, as the official score divides by ten annotators."""
    strings = [answer for answer in answers if type(answer) is str]
    if len(answers) != 10 or len(strings) != 10:
        given = f"{len(answers)} entries, {len(strings)} of them strings"
        raise BadAnnotation(file, f"ten answer strings in {place[0]}[{place[1]}]", given)
    return tuple(strings)


def _json_name(kind: type) -> str:
    names = {dict: "an object", list: "a list", str: "a string", int: "a whole number", float: "a fraction"}
    return names.get(kind, "null" if kind is type(None) else "true or false")
