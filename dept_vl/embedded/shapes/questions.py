"""Questions about scenes as values: what is asked and what is true, before any wording.

Eight kinds: color, shape, size, where, exist, count, spatial, ground. How a question and its answer are
worded is another matter (`language` for the data set; the pretraining has wordings of its own).
"""

import dataclasses
import itertools
import random
from collections.abc import Callable

from dept_vl.embedded.shapes.world import COLORS, SHAPES, SIZES, Scene, Thing

KINDS = ("color", "shape", "size", "where", "exist", "count", "spatial", "ground")
RELATIONS = ("left of", "right of", "above", "below")
_OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


@dataclasses.dataclass(frozen=True, slots=True)
class Description:
    """What is said of a thing; None says nothing."""

    size: str | None = None
    color: str | None = None
    shape: str | None = None

    def fits(self, thing: Thing) -> bool:
        return (
            self.size in (None, thing.size) and self.color in (None, thing.color) and self.shape in (None, thing.shape)
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """`subject` is a description, or a place such as "top left"; `answer` is a word, a count or a truth."""

    kind: str
    answer: str | int | bool
    subject: Description | str | None = None
    relation: str | None = None
    other: Description | None = None


def ask(scene: Scene, kind: str, rng: random.Random) -> Question | None:
    """A question of that kind about the scene, or None where the scene gives no ground for one."""
    return _ASKERS[kind](scene, rng)


def _identify(scene: Scene, thing: Thing, rng: random.Random, hidden: str | None = None) -> Description | None:
    """A description, without the hidden attribute, that fits this thing alone: the shortest, ties by chance."""
    names = [name for name in ("size", "color", "shape") if name != hidden]
    for length in range(1, len(names) + 1):
        subsets = list(itertools.combinations(names, length))
        rng.shuffle(subsets)
        for subset in subsets:
            description = Description(**{name: getattr(thing, name) for name in subset})
            if subset != ("size",) and sum(map(description.fits, scene.things)) == 1:
                return description
    return None


def _ask_attribute(scene: Scene, kind: str, by_place: float, rng: random.Random) -> Question | None:
    thing = rng.choice(scene.things)
    if rng.random() < by_place:
        return Question(kind, getattr(thing, kind), thing.place)
    subject = _identify(scene, thing, rng, hidden=kind)
    return Question(kind, getattr(thing, kind), subject) if subject else None


def _ask_where(scene: Scene, rng: random.Random) -> Question | None:
    thing = rng.choice(scene.things)
    subject = _identify(scene, thing, rng)
    return Question("where", thing.place, subject) if subject else None


def _ask_exist(scene: Scene, rng: random.Random) -> Question | None:
    wanted = rng.random() < 0.5
    for _ in range(20):
        model = rng.choice(scene.things)
        color, shape = (model.color, model.shape) if wanted else (rng.choice(COLORS), rng.choice(SHAPES))
        if not wanted and rng.random() < 0.5:  # near misses: one of the two is really there
            color, shape = rng.choice(((model.color, shape), (color, model.shape)))
        form = rng.random()
        subject = Description(color=color if form < 0.75 else None, shape=shape if form > 0.25 else None)
        if any(map(subject.fits, scene.things)) == wanted:
            return Question("exist", wanted, subject)
    return None


def _ask_count(scene: Scene, rng: random.Random) -> Question | None:
    by_answer: dict[int, list[Description]] = {}
    choices = [Description(shape=shape) for shape in SHAPES] + [Description(color=color) for color in COLORS]
    choices += [Description(size=size) for size in SIZES] + [Description()]
    for subject in choices:
        number = sum(map(subject.fits, scene.things))
        by_answer.setdefault(number, []).append(subject)
    number = rng.choice(sorted(by_answer))
    return Question("count", number, rng.choice(by_answer[number]))


def _ask_spatial(scene: Scene, rng: random.Random) -> Question | None:
    if len(scene.things) < 2:
        return None
    for _ in range(8):
        one, two = rng.sample(scene.things, 2)
        true = [name for name in RELATIONS if _holds(name, one, two)]
        subject, other = _identify(scene, one, rng), _identify(scene, two, rng)
        if true and subject and other:
            relation, answer = rng.choice(true), rng.random() < 0.5
            return Question("spatial", answer, subject, relation if answer else _OPPOSITE[relation], other)
    return None


def _holds(relation: str, one: Thing, two: Thing) -> bool:
    return {
        "left of": one.column < two.column,
        "right of": one.column > two.column,
        "above": one.row < two.row,
        "below": one.row > two.row,
    }[relation]


_ASKERS: dict[str, Callable[[Scene, random.Random], Question | None]] = {
    "color": lambda scene, rng: _ask_attribute(scene, "color", 0.3, rng),
    "shape": lambda scene, rng: _ask_attribute(scene, "shape", 0.3, rng),
    "size": lambda scene, rng: _ask_attribute(scene, "size", 0.0, rng),
    "where": _ask_where,
    "exist": _ask_exist,
    "count": _ask_count,
    "spatial": _ask_spatial,
    "ground": lambda scene, rng: Question("ground", scene.ground),
}
