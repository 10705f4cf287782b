"""beartype as the tests' import hook applies it: each signature is compiled once.

A function inside another is decorated anew at every call of the outer one. Over a whole run that is seven times as many
decorations as there are signatures, and their compilation took a quarter of the tests' time.
"""

from collections.abc import Callable
from typing import Any

from beartype import beartype

_checks: dict[tuple[Any, ...], Callable[..., Any]] = {}


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """`beartype(function)`. jaxtyping hands over functions without a body, which equal annotations make equal."""
    key = function.__module__, function.__qualname__, *getattr(function, "__annotations__", {}).items()
    try:
        known = _checks.get(key)
    except TypeError:  # an annotation that has no hash
        return beartype(function)
    if known is None:
        known = _checks[key] = beartype(function)
    return known
