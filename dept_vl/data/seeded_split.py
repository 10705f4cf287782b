"""Split rows into train, val and test by a seed: what has one key stays on one side, whatever the rows' order.

The keys are ordered by the sha256 of seed and key; the first ones are test, the next val, the rest train. So a split is
the same on every machine, in every order of the file, and adding a few rows moves few of the others.
"""

import hashlib
import itertools
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from dept_vl.untrusted.bad_file import listed

ROLES = ("train", "val", "test")
SEED = 42  # of the published splits too; a run's own seed leaves the split alone
SHARES = (0.8, 0.1, 0.1)  # of the keys, by role
WHOLE = (1.0, 0.0, 0.0)  # nothing is drawn


class BadShares(ValueError):
    """Shares that do not divide anything."""


class TooFewToSplit(ValueError):
    """Fewer different keys than sides."""


def check_shares(shares: Sequence[float]) -> None:
    """Raises: BadShares."""
    if len(shares) != 3 or not all(share >= 0 for share in shares) or abs(sum(shares) - 1) > 1e-6 or not shares[0]:
        raise BadShares(
            f"task.split_shares: wanted three numbers for {', '.join(ROLES)}, at least 0, train's above 0, that add up "
            f"to 1, given {list(shares)}"
        )


def shared(sides: Mapping[str, Mapping[Any, str]], what: str) -> list[str]:
    """A sentence for every two sides that have keys in common; splits that a user gave stay as they are. sides: by
    name, each key with what to call it there. what: it is, in the plural."""
    found = []
    for (one, own), (other, others) in itertools.combinations(sides.items(), 2):
        names = [(own[key], others[key]) for key in own if key in others]
        if names:
            called = sorted(first if first == second else f"{first} = {second}" for first, second in names)
            found.append(f"{one} and {other} share {listed(called, show=2)} {what}")
    return found


def seeded_split(keys: Sequence[Hashable], shares: Mapping[str, float], *, seed: int = SEED) -> list[str]:
    """The side of each row, by its key, such as its text or its image's content.

    shares: of the different keys, in proportion, for train and for each side that is drawn out of it; a side gets one
    key at least, train what is left.

    Raises: TooFewToSplit where the keys do not suffice for one on every side.
    """
    different = {repr(key): key for key in keys}
    if len(different) < len(shares):
        raise TooFewToSplit(
            f"wanted at least {len(shares)} that differ, for {', '.join(shares)}, given {len(different)}"
        )
    ordered = sorted(
        different, key=lambda name: hashlib.sha256(f"{seed} {name}".encode("utf-8", "surrogatepass")).digest()
    )
    total, drawn = sum(shares.values()), [role for role in reversed(ROLES) if role in shares and role != "train"]
    sizes = {role: max(1, round(len(ordered) * shares[role] / total)) for role in drawn}
    while sum(sizes.values()) >= len(ordered):  # train gets one at least
        sizes[max(sizes, key=sizes.__getitem__)] -= 1
    sides: dict[Hashable, str] = {}
    start = 0
    for role, size in sizes.items():
        sides |= {different[name]: role for name in ordered[start : start + size]}
        start += size
    return [sides.get(key, "train") for key in keys]
