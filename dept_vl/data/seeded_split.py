"""Split rows into train, val and test by a seed: what has one key stays on one side, whatever the rows' order.

The keys are ordered by the sha256 of seed and key; the first tenth is test, the next is val, the rest train. So a split
is the same on every machine, in every order of the file, and adding a few rows moves few of the others.
"""

import hashlib
from collections.abc import Hashable, Sequence

ROLES = ("train", "val", "test")
SEED = 42  # of the published splits too; a run's own seed leaves the split alone
SHARES = {"test": 0.1, "val": 0.1}  # of the keys


class TooFewToSplit(ValueError):
    """Fewer different keys than sides."""


def seeded_split(keys: Sequence[Hashable], *, held_out: Sequence[str] = ("test", "val"), seed: int = SEED) -> list[str]:
    """The side of each row, by its key, such as its image or its text.

    held_out: the sides to take out of train; each gets a tenth of the different keys, and at least one.

    Raises: TooFewToSplit where the keys do not suffice for one on every side.
    """
    different = {repr(key): key for key in keys}
    if len(different) <= len(held_out):
        raise TooFewToSplit(
            f"wanted at least {len(held_out) + 1} rows that differ, for {', '.join(('train', *held_out))}, given "
            f"{len(different)}"
        )
    ordered = sorted(
        different, key=lambda name: hashlib.sha256(f"{seed} {name}".encode("utf-8", "surrogatepass")).digest()
    )
    sides: dict[Hashable, str] = {}
    start = 0
    for role in held_out:
        end = start + max(1, round(SHARES[role] * len(different)))
        sides |= {different[name]: role for name in ordered[start:end]}
        start = end
    return [sides.get(key, "train") for key in keys]
