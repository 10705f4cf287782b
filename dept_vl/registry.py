"""Names to things: a mapping that modules fill while they are imported, and that suggests a spelling."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any, TypeVar

T = TypeVar("T")


class DeptVLWarning(UserWarning):
    """The class of every warning of this package: one filter turns them off, or into errors."""


class BadArguments(ValueError):
    """Arguments that the thing of that name does not take, or lacks."""


class UnknownName(ValueError):
    """A name that stands in no registry entry; the message lists the names that do."""


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """ " Did you mean 'dept'?", to be put behind an error's last sentence, or "" when nothing is close."""
    close = difflib.get_close_matches(name, list(choices), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def wanted_one_of(known: Iterable[str], given: str) -> str:
    """ "wanted one of dpt, dept, given 'det'. Did you mean 'dept'?": what an error says of a name that is not known."""
    known = list(known)
    return f"wanted one of {', '.join(known)}, given {given!r}.{did_you_mean(given, known)}"


def arguments_of(constructor: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The constructor's keyword arguments by name, `generator` aside: the schema of `args` in a config."""
    parameters = inspect.signature(constructor).parameters.values()
    return {each.name: each for each in parameters if each.kind is each.KEYWORD_ONLY and each.name != "generator"}


def check_integer(
    error: type[ValueError], owner: str, name: str, value: object, *, minimum: int = 1, why: str = ""
) -> None:
    """`owner`: the method or thing whose argument it is. Raises: `error` unless `value` is an integer >= minimum."""
    if type(value) is not int or value < minimum:
        raise error(f"{owner}: wanted {name} to be an integer >= {minimum}, given {value!r}{why and f' ({why})'}")


class Registry(Mapping[str, T]):
    """A mapping from a name to a thing of one `kind`; `kind` is the word that its errors use. Of the installed packages
    that have `entry_points` of that group, the modules are imported before a name counts as unknown.

    Raises:
        UnknownName: `registry[name]` for a name without an entry.
        ValueError: a second entry under the same name.
    """

    def __init__(self, kind: str, *, entry_points: str | None = None) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}
        self._group = entry_points

    def add(self, name: str, value: T) -> T:
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is registered twice: {self._entries[name]!r} and {value!r}")
        self._entries[name] = value
        return value

    def register(self, name: str) -> Callable[[T], T]:
        """A decorator that adds what it decorates under `name` and leaves it as it is."""
        return lambda value: self.add(name, value)

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            self._load_entry_points()
        if name not in self._entries:
            wanted = ", ".join(sorted(self._entries)) or "nothing: the registry is empty"
            raise UnknownName(f"unknown {self.kind} {name!r}: wanted one of {wanted}.{did_you_mean(name, self)}")
        return self._entries[name]

    def build(self, name: str, arguments: Mapping[str, Any], generator: Any = None, *given: Any) -> Any:
        """`self[name](*given, **arguments)`, with `generator` where that draws.

        Raises: UnknownName, BadArguments, and what the constructor raises.
        """
        constructor: Any = self[name]
        known = arguments_of(constructor)
        unknown = [key for key in arguments if key not in known]
        missing = [key for key, each in known.items() if each.default is each.empty and key not in arguments]
        if unknown or missing:
            wrong = f"unknown {', '.join(unknown)}" if unknown else f"no {', '.join(missing)}"
            hint = did_you_mean(unknown[0], known) if unknown else ""
            raise BadArguments(
                f"{self.kind} {name!r}: wanted the arguments {', '.join(known) or '(none)'}; given {wrong}.{hint}"
            )
        draws = "generator" in inspect.signature(constructor).parameters
        return constructor(*given, **arguments, **({"generator": generator} if draws else {}))

    def name_of(self, thing: object) -> str:
        """The name under which the class of `thing` is registered."""
        return next(name for name, each in self._entries.items() if each is type(thing))

    def _load_entry_points(self) -> None:
        group, self._group = self._group, None
        for each in entry_points(group=group) if group else ():
            each.load()

    # Mapping answers these two by catching KeyError, which UnknownName is not.
    def __contains__(self, name: object) -> bool:
        if name not in self._entries:
            self._load_entry_points()
        return name in self._entries

    def get(self, name: str, default: Any = None, /) -> Any:
        return self._entries.get(name, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"Registry({self.kind!r}: {', '.join(self._entries)})"
