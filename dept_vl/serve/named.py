"""Adapters by name, one of them active, in PEFT's words."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dept_vl.model import BASE
from dept_vl.registry import did_you_mean
from dept_vl.saved import SavedAdapter
from dept_vl.saved.files import PEFT

DEFAULT_NAME = "default"


class UnknownAdapter(ValueError):
    """A name under which no adapter is loaded, or one that an adapter cannot have."""


class NamedAdapters:
    """A dict of adapters that knows which one answers."""

    def __init__(self) -> None:
        self.loaded: dict[str, SavedAdapter] = {}
        self.active: str | None = None  # the adapter that is set, disabled or not
        self._disabled = False

    @property
    def answering(self) -> str:
        return BASE if self.active is None or self._disabled else self.active

    def check_free(self, name: str) -> None:
        """Raises: UnknownAdapter for a name that is taken, or that no folder can have."""
        if name in self.loaded or name == BASE:
            raise UnknownAdapter(f"adapter_name: wanted one that is free, given {name!r}, which is taken")
        if not name or Path(name).name != name or name in (".", "..", PEFT):
            raise UnknownAdapter(f"adapter_name: wanted a name that a folder can have, given {name!r}")

    def add(self, name: str, saved: SavedAdapter) -> None:
        """The first one becomes the active one. Raises: UnknownAdapter."""
        self.check_free(name)
        self.loaded[name] = saved
        self.active = self.active or name

    def find(self, name: str) -> SavedAdapter:
        """Raises: UnknownAdapter."""
        if name not in self.loaded:
            known = ", ".join(list(self.loaded)[:5]) + (", ..." if len(self.loaded) > 5 else "") or "none"
            hint = did_you_mean(name, self.loaded)
            raise UnknownAdapter(f"unknown adapter {name!r}: wanted one that is loaded ({known}).{hint}")
        return self.loaded[name]

    def delete(self, name: str) -> None:
        """If it was active, the first of the others becomes active. Raises: UnknownAdapter."""
        self.find(name)
        del self.loaded[name]
        if self.active == name:
            self.active = next(iter(self.loaded), None)

    def set(self, name: str) -> None:
        """Raises: UnknownAdapter."""
        self.find(name)
        self.active = name

    @contextmanager
    def disable(self) -> Iterator[None]:
        before, self._disabled = self._disabled, True
        try:
            yield
        finally:
            self._disabled = before
