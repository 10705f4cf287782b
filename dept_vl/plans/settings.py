"""Plain settings: read from YAML, merged, flattened, and built into dataclasses with errors that name file and key.

A reader of its own, since jsonargparse takes 425 ms for the largest file of configs/paper where this takes 1 ms, and
names neither the cell nor the nearest key.
"""

import dataclasses
import functools
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from dept_vl.config import arguments_for, config_files
from dept_vl.registry import did_you_mean
from dept_vl.untrusted.yaml_text import NotYaml, parse_yaml

Settings = dict[str, Any]
T = TypeVar("T")
_WORDS = {str: "text", int: "whole number", float: "number", type(None): "null"}


class BadPlan(ValueError):
    """A plan, or a command about plans, that contradicts itself or names what there is not."""


def read(path: Path) -> Settings:
    """The mapping of a YAML file. Raises: BadPlan."""
    try:
        content = parse_yaml(path.read_bytes())
    except (OSError, NotYaml) as error:
        raise BadPlan(f"{path}: wanted a YAML file ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise BadPlan(f"{path}: wanted keys and values, given {content!r}")
    return content


def merge(left: Mapping[str, Any], right: Mapping[str, Any]) -> Settings:
    """`right` over `left`, key by key at every depth. Another `name` without `args` takes its own (`arguments_for`) in
    place of those that belong to the old one."""
    if "args" in left and right.get("name", left.get("name")) != left.get("name"):
        left = {**left, "args": {} if "args" in right else arguments_for(right["name"], left["args"])}
    deep = [key for key in left if isinstance(left[key], dict) and isinstance(right.get(key), dict)]
    return {**left, **right, **{key: merge(left[key], right[key]) for key in deep}}


def merge_all(settings: Iterable[Mapping[str, Any]]) -> Settings:
    """From left to right."""
    return functools.reduce(merge, settings, {})


def read_all(paths: Iterable[Path]) -> Settings:
    """Files merged from left to right."""
    return merge_all(map(read, paths))


def find_file(folder: Path, name: str) -> Path:
    """A file that a plan in `folder` names: beside it, or else of configs."""
    own = folder / name
    return own if own.exists() else config_files(name)[0]


def flat(settings: Mapping[str, Any], prefix: str = "") -> Settings:
    """{"optim": {"eps": 1}} to {"optim.eps": 1}."""
    found: Settings = {}
    for key, value in settings.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def nested(dotted: Mapping[str, Any]) -> Settings:
    """{"optim.eps": 1} to {"optim": {"eps": 1}}."""
    found: Settings = {}
    for key, value in dotted.items():
        for word in reversed(str(key).split(".")):
            value = {word: value}
        found = merge(found, value)
    return found


def label(dotted: Mapping[str, Any]) -> str:
    """ "prompt=0.3, low_rank=0.0005": keys by their last word where that tells them apart."""
    last = [key.rpartition(".")[2] for key in dotted]
    short = {key: word if last.count(word) == 1 else key for key, word in zip(dotted, last, strict=True)}
    return ", ".join(f"{short[key]}={value}" for key, value in dotted.items())


def check_keys(where: str, settings: Any, config: type) -> None:
    """Raises: BadPlan for a key that the dataclass `config` does not have, at any depth."""
    fields = {each.name: each.type for each in dataclasses.fields(config)}
    if not isinstance(settings, dict):
        raise BadPlan(f"{where.rstrip('.')}: wanted keys and values, given {settings!r}")
    for key, value in settings.items():
        if key not in fields:
            hint = did_you_mean(str(key), fields)
            raise BadPlan(f"{where}{key}: wanted a setting, one of {', '.join(fields)}.{hint}")
        if dataclasses.is_dataclass(fields[key]):
            check_keys(f"{where}{key}.", value, fields[key])


def build(cls: type[T], content: Any, where: str, **known: Any) -> T:
    """The dataclass from a mapping; `known` fields are no keys of the file. A single value stands for a list of it, and
    for the first field of a part.

    Raises: BadPlan for unknown, missing and ill-typed keys.
    """
    fields = {each.name: each for each in dataclasses.fields(cls) if each.name not in known}
    if not isinstance(content, dict):
        raise BadPlan(f"{where}wanted keys and values, given {content!r}")
    for key in content:
        if key not in fields:
            hint = did_you_mean(str(key), fields)
            raise BadPlan(f"{where}unknown key {key}, wanted one of {', '.join(fields)}.{hint}")
    for name, each in fields.items():
        if name not in content and each.default is each.default_factory is dataclasses.MISSING:
            raise BadPlan(f"{where}wanted the key {name}, given {', '.join(map(str, content))}")
    return cls(**{name: _value(fields[name].type, content[name], where, name) for name in content}, **known)


def _value(kind: Any, value: Any, where: str, key: str) -> Any:
    parts = [each for each in typing.get_args(kind) if dataclasses.is_dataclass(each)]
    many = typing.get_origin(kind) is tuple
    if parts and many:
        if not isinstance(value, list) or not value:
            raise BadPlan(f"{where}{key}: wanted a list, given {value!r}")
        word = parts[0].__name__.lower()
        return tuple(build(parts[0], each, f"{where}{word} {_name(each, n)}: ") for n, each in enumerate(value, 1))
    if parts and value is not None:
        first = dataclasses.fields(parts[0])[0].name
        return build(parts[0], value if isinstance(value, dict) else {first: value}, f"{where}{key}: ")
    if many and not isinstance(value, list | dict) and value is not None:
        value = [value]
    if not _fits(kind, value):
        raise BadPlan(f"{where}{key}: wanted {_words(kind)}, given {value!r}")
    return tuple(value) if many else value


def _fits(kind: Any, value: Any) -> bool:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return True
    if origin in (types.UnionType, typing.Union):
        return any(_fits(each, value) for each in parts)
    if origin is tuple:
        return isinstance(value, list) and all(_fits(parts[0], each) for each in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(parts[0], k) and _fits(parts[1], v) for k, v in value.items())
    if origin is list:
        return isinstance(value, list) and len(value) > 0
    if kind in (int, float):
        return isinstance(value, int | kind) and not isinstance(value, bool)
    return isinstance(value, kind)


def _words(kind: Any) -> str:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_words(each) for each in parts if each is not int or float not in parts)
    if origin in (tuple, list):
        return f"a list of {_words(parts[0])}s"
    if origin is dict:
        return f"keys with a {_words(parts[1])} each"
    return _WORDS.get(kind, "value")


def _name(item: Any, number: int) -> Any:
    names = [item[key] for key in ("task", "name", "method", "title") if key in item] if isinstance(item, dict) else []
    return names[0] if names else number
