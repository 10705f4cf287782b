"""Published splits to train, val and test, row for row as DePT and ATTEMPT made them: pure functions of counts.

    halve         val and test are the halves of the permuted published split `val`; train is whole
    from_train    val is the first `held_out` of the permuted train, train the rest; test is published
    own           all three are published

The permutation is `torch.randperm(rows)` of a generator seeded with 42, which makes the split of a whole set the
published one (github.com/ZhengxiangShi/DePT, src/tasks.py). There `held_out` rows are held out whatever is left; here
never more than a tenth, so that a small part of a set keeps most of its rows to train on.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import torch
from jaxtyping import Int64

from dept_vl.registry import wanted_one_of
from dept_vl.tasks.source import Splits

ROLES = ("train", "val", "test")
SEED = 42
Rows = Int64[np.ndarray, "rows"]


class BadSplit(ValueError):
    """A split that does not exist, or one that so few rows cannot make."""


def published_split(splits: Splits, role: str) -> str:
    """The one published split that train, val or test is made of. Raises: BadSplit."""
    if role not in ROLES:
        raise BadSplit(f"task.train_split, eval_split or test_split: {wanted_one_of(ROLES, role)}")
    if splits.rule == "halve":
        return "train" if role == "train" else splits.val
    if splits.rule == "from_train":
        return splits.test if role == "test" else "train"
    return {"train": "train", "val": splits.val, "test": splits.test}[role]


def split_rows(splits: Splits, role: str, rows: int, groups: Sequence[Hashable] | None = None) -> Rows:
    """Which of the `rows` rows of its published split make train, val or test, in the published order.

    groups: of each row, where what is held out must not cut a group in two.

    Raises: BadSplit.
    """
    published = published_split(splits, role)
    if splits.rule == "halve" and role != "train":
        if rows < 2:
            raise BadSplit(f"{published}: wanted at least 2 rows to halve into val and test, given {rows}")
        permuted = permutation(rows)
        return permuted[: rows // 2] if role == "val" else permuted[rows // 2 :]
    if splits.rule == "from_train" and role != "test":
        if splits.held_out < 1:
            raise BadSplit(f"held_out: wanted at least 1 row of train for val, given {splits.held_out}")
        held_out = min(splits.held_out, rows // 10)
        if held_out < 1:
            raise BadSplit(f"{published}: wanted at least 10 rows, a tenth of which can be held out, given {rows}")
        permuted = permutation(rows)
        if groups is not None:
            permuted, held_out = _grouped(permuted, groups, held_out)
        return permuted[:held_out] if role == "val" else permuted[held_out:][: splits.most_train]
    return np.arange(rows)


def _grouped(permuted: Rows, groups: Sequence[Hashable], least: int) -> tuple[Rows, int]:
    """The rows with those of a group beside each other, groups as they first come; and how many the first groups with
    `least` rows between them have.

    Raises: BadSplit where that is all of them.
    """
    members: dict[Hashable, list[int]] = {}
    for row in permuted.tolist():
        members.setdefault(groups[row], []).append(row)
    ends = np.cumsum([len(each) for each in members.values()])
    held_out = int(ends[np.searchsorted(ends, least)])
    if held_out == len(permuted):
        raise BadSplit(f"wanted at least 2 groups, one of them to hold out, given {len(members)} of {held_out} rows")
    return np.array([row for each in members.values() for row in each]), held_out


def permutation(rows: int) -> Rows:
    return torch.randperm(rows, generator=torch.Generator().manual_seed(SEED)).numpy()
