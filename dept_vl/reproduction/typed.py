"""A YAML file to a dataclass: what is unknown, missing or of the wrong kind is refused with the file and the key."""

import dataclasses
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from dept_vl.registry import did_you_mean
from dept_vl.untrusted.yaml_text import NotYaml, parse_yaml

Settings = dict[str, Any]
Scores = dict[str, float | int]
T = TypeVar("T")


class BadTableFile(ValueError):
    """A file of configs/paper that cannot be meant. The message names the file and the key."""


def read(path: Path) -> dict[str, Any]:
    """The mapping of a YAML file. Raises: BadTableFile."""
    try:
        content = parse_yaml(path.read_bytes())
    except (OSError, NotYaml) as error:
        raise BadTableFile(f"{path}: wanted a YAML file ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise BadTableFile(f"{path}: wanted keys and values, given {content!r}")
    return content


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _list_of(good: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list | tuple) and all(map(good, value))


def _scores(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) and _number(value[key]) for key in value)


_KINDS: dict[Any, tuple[Callable[[Any], bool], str]] = {
    str: (lambda value: isinstance(value, str), "a text"),
    str | None: (lambda value: value is None or isinstance(value, str), "a text"),
    int: (lambda value: isinstance(value, int), "a whole number"),
    int | None: (lambda value: value is None or isinstance(value, int), "a whole number"),
    float | int: (_number, "a number"),
    float | int | None: (lambda value: value is None or _number(value), "a number"),
    Scores: (_scores, "metrics with their numbers in percent"),
    Scores | None: (lambda value: value is None or _scores(value) and len(value) > 0, "metrics with numbers, or null"),
    Settings: (lambda value: isinstance(value, dict), "settings"),
    tuple[int, ...]: (_list_of(lambda value: isinstance(value, int)), "a list of whole numbers"),
    tuple[str, ...]: (_list_of(lambda value: isinstance(value, str)), "a list of texts"),
    tuple[float | int | None, ...]: (_list_of(lambda value: value is None or _number(value)), "a list of numbers"),
}


def build(cls: type[T], content: Any, where: str, **known: Any) -> T:
    """The dataclass from a file's mapping; `known` fields are no keys of the file.

    Raises: BadTableFile for unknown, missing and ill-typed keys.
    """
    fields = {each.name: each for each in dataclasses.fields(cls) if each.name not in known}
    if not isinstance(content, dict):
        raise BadTableFile(f"{where}wanted keys and values, given {content!r}")
    for key in content:
        if key not in fields:
            hint = did_you_mean(str(key), fields)
            raise BadTableFile(f"{where}unknown key {key}, wanted one of {', '.join(fields)}.{hint}")
    built = {}
    for name, each in fields.items():
        if name not in content:
            if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
                raise BadTableFile(f"{where}wanted the key {name}, given {', '.join(map(str, content))}")
            continue
        value = content[name]
        part = next(iter(typing.get_args(each.type)), None)
        if dataclasses.is_dataclass(part):  # tuple[part, ...]
            if not isinstance(value, list) or not value:
                raise BadTableFile(f"{where}{name}: wanted a list, given {value!r}")
            word = part.__name__.lower()
            value = tuple(build(part, item, f"{where}{word} {_called(item, n)}: ") for n, item in enumerate(value, 1))
        elif each.type in _KINDS:
            good, words = _KINDS[each.type]
            if not good(value):
                raise BadTableFile(f"{where}{name}: wanted {words}, given {value!r}")
            value = tuple(value) if isinstance(value, list) else value
        built[name] = value
    return cls(**built, **known)


def _called(item: Any, number: int) -> Any:
    names = [item[key] for key in ("task", "name", "method") if key in item] if isinstance(item, dict) else []
    return names[0] if names else number
