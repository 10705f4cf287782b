"""Few-shot draws: k examples of each class, or k in all, the same for every method, seed and limit.

A draw is a function of the examples, k and its number alone. A larger k adds to what a smaller one drew. STS-B has no
classes; it counts as two, up to 2.5 and above, as in DePT's published code (github.com/ZhengxiangShi/DePT, train.py).
That code's k is the total, and some of it is lost where the classes do not divide it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dept_vl.tasks.example import Example
from dept_vl.tasks.text_task import TextTask

_HALVES = ("up to 2.5", "above 2.5")
_STREAM = {"train": 0, "val": 1}  # so that val is not drawn by the numbers that drew train


class BadFewShot(ValueError):
    """Too few examples for a draw, a task without classes, or settings that contradict each other."""


@dataclass(frozen=True)
class FewShot:
    """k: examples of each class, or k_total: examples in all, not balanced; one of the two. draw: which of the draws.

    val: "full" keeps the selecting split whole, "k" draws as many of it as there are to train on, by the same rule, and
    takes what there is where that is less. The test split is never drawn from.
    """

    k: int | None = None
    k_total: int | None = None
    draw: int = 0
    val: Literal["full", "k"] = "full"

    def __post_init__(self) -> None:
        if (self.k is None) == (self.k_total is None):
            given = "neither" if self.k is None else "both"
            raise BadFewShot(f"few shot: wanted k_shot (of each class) or k_shot_total (in all), given {given}")
        for name, value, least in (("k_shot", self.k, 1), ("k_shot_total", self.k_total, 1), ("draw", self.draw, 0)):
            if value is not None and value < least:
                raise BadFewShot(f"few shot: wanted {name} of at least {least}, given {value}")

    def draws(self, role: str) -> bool:
        """Whether this split is drawn from."""
        return role == "train" or (role == "val" and self.val == "k")

    def choose(self, role: str, task: TextTask, examples: Sequence[Example]) -> list[Example]:
        """The drawn examples, in the order of the split.

        Raises: BadFewShot for a task without classes, or fewer training examples than asked for.
        """
        if self.k_total is not None:
            groups = {"": list(range(len(examples)))}
        else:
            groups = _by_class(task, examples)
        wanted = self.k_total or self.k
        places: list[int] = []
        for number, (name, members) in enumerate(groups.items()):
            if role == "train" and len(members) < wanted:
                of = f"of the class {name!r}" if name else "in all"
                raise BadFewShot(f"{task.name}: wanted {wanted:,} training examples {of}, given {len(members):,}")
            generator = np.random.default_rng([self.draw, _STREAM[role], number])
            places.extend(members[each] for each in generator.permutation(len(members))[:wanted])
        return [examples[place] for place in sorted(places)]


def _by_class(task: TextTask, examples: Sequence[Example]) -> dict[str, list[int]]:
    """The places of each class's examples; a class without any is there too."""
    if not task.candidates:
        raise BadFewShot(f"{task.name}: wanted classes to take k_shot of each, given free answers; use k_shot_total")
    named = dict(zip(task.labels, task.label_names, strict=True))
    places: dict[str, list[int]] = {name: [] for name in (task.label_names or _HALVES)}
    for place, example in enumerate(examples):
        answer = example.targets[0]
        places[named[answer] if named else _HALVES[float(answer) > 2.5]].append(place)
    return places
