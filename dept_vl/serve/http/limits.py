"""What a request may take, and where the server may read."""

from dataclasses import dataclass
from pathlib import Path

MOST_ROWS = 4096
"""Of any request, whatever its server's limit: a longer list is refused while it is parsed."""


class BadLimits(ValueError):
    """Limits that contradict each other."""


@dataclass(frozen=True)
class Limits:
    """body: bytes of one request; bodies: of all requests together that are being read or answered. rows, pixels (of a
    picture), text (characters of a row), new_tokens, beams: of one request. queue: rows that wait. seconds: in which a
    body must have come, and then an answer. adapters: loaded at once. folder: bytes of an adapter's files."""

    body: int = 16 * 2**20
    bodies: int = 256 * 2**20
    rows: int = 64
    pixels: int = 25_000_000
    text: int = 20_000
    new_tokens: int = 256
    beams: int = 8
    queue: int = 1024
    seconds: float = 30.0
    adapters: int = 10_000
    folder: int = 2**30

    def __post_init__(self) -> None:
        """Raises: BadLimits."""
        for name, value in vars(self).items():
            if value <= 0:
                raise BadLimits(f"{name}: wanted a number above 0, given {value}")
        if self.bodies < self.body:
            raise BadLimits(f"bodies: wanted at least body ({self.body:,} bytes), given {self.bodies:,}")
        if self.rows > min(self.queue, MOST_ROWS):
            most = min(self.queue, MOST_ROWS)
            raise BadLimits(f"rows: wanted at most {most:,}, as the queue has room for, given {self.rows:,}")


@dataclass(frozen=True)
class Access:
    """token: what a client must show, None for nothing. image_root, adapter_root: folders below which requests may name
    pictures and adapters, None for none. hub: whether adapters may be loaded from the hub. hosts: the names under which
    a client may reach the server, None for any."""

    token: str | None = None
    image_root: Path | None = None
    adapter_root: Path | None = None
    hub: bool = False
    hosts: tuple[str, ...] | None = None
