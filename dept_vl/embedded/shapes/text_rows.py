"""Rows of the text sets: statements and questions about a scene in words, true or not.

A maker takes a scene of at least two things, a kind, whether the statement shall hold, and chance. It gives a row with
the fields of the official set, or None where the scene gives no ground for one. A false statement is a true one with a
word changed, so that the statement alone does not tell.
"""

import dataclasses
import random
from typing import Any

from dept_vl.embedded.shapes import world
from dept_vl.embedded.shapes.language import WORDINGS, indefinite, join, word_question
from dept_vl.embedded.shapes.questions import Description, Question, ask
from dept_vl.embedded.shapes.world import Scene, Thing

Row = dict[str, Any]
STATEMENTS = ("there is {}.", "we can see {}.", "a picture of {}.")
_VALUES = {"size": world.SIZES, "color": world.COLORS, "shape": world.SHAPES}
_TRIES = 10  # draws of a description that fits nothing before the scene is given up


def tell(scene: Scene, rng: random.Random) -> str:
    """The scene in words, things in any order."""
    things = [_phrase(thing) for thing in scene.things]
    rng.shuffle(things)
    return _in_words(things, scene)


def boolq(scene: Scene, kind: str, holds: bool, rng: random.Random) -> Row | None:
    """A yes / no question, worded as those about the pictures: "exist" or "spatial"."""
    if kind == "spatial":
        question = ask(scene, kind, rng)
        if question is None or question.answer != holds:
            return None
    else:
        names = rng.choice((("color",), ("shape",), ("color", "shape")))
        subject = _describe(rng.choice(scene.things), names)
        question = Question(kind, holds, subject if holds else _absent(scene, subject, rng))
        if question.subject is None:
            return None
    text = word_question(question, rng.choice(WORDINGS[kind]))
    return {"question": text, "passage": tell(scene, rng), "label": holds}


def rte(scene: Scene, kind: str, holds: bool, rng: random.Random) -> Row | None:
    """A statement that "one" thing is there, or "two"; where it does not follow, one of them is not there."""
    number = {"one": 1, "two": 2}[kind]
    described: list[Description | None] = []
    for thing in rng.sample(scene.things, number):
        described.append(
            _describe(thing, rng.choice((("color", "shape"), ("size", "shape"), ("size", "color", "shape"))))
        )
    if not holds:
        place = rng.randrange(number)
        described[place] = _absent(scene, described[place], rng)
    if None in described or len(set(described)) < number:
        return None
    hypothesis = rng.choice(STATEMENTS).format(join([indefinite(each) for each in described]))
    return {"premise": tell(scene, rng), "hypothesis": hypothesis, "label": _entailment(holds)}


def qnli(scene: Scene, kind: str, holds: bool, rng: random.Random) -> Row | None:
    """An open question of that kind; where the sentence has no answer, it asks about a thing that is not there."""
    question = ask(scene, kind, rng)
    if question is None or not isinstance(question.subject, Description):
        return None
    if not holds:
        question = dataclasses.replace(question, subject=_absent(scene, question.subject, rng))
        if question.subject is None:
            return None
    text = word_question(question, rng.choice(WORDINGS[kind]))
    return {"question": text, "sentence": tell(scene, rng), "label": _entailment(holds)}


def cola(scene: Scene, kind: str, holds: bool, rng: random.Random) -> Row | None:
    """The scene in words, correct or with a fault of that kind in the description of one thing."""
    things = [_phrase(thing) for thing in scene.things]
    rng.shuffle(things)
    if not holds:
        place = rng.randrange(len(things))
        things[place] = " ".join(_spoilt(things[place].split(), kind, rng))
    return {"source": "shapes", "label": int(holds), "star": "" if holds else "*", "sentence": _in_words(things, scene)}


def squad(scene: Scene, kind: str, holds: bool, rng: random.Random) -> Row | None:
    """An open question of that kind, whose answer is a stretch of the context. There always is one: `holds` is idle."""
    question = ask(scene, kind, rng)
    if question is None:
        return None
    context = tell(scene, rng)
    near = f"{scene.ground} background" if kind == "ground" else _phrase(_asked_about(scene, question.subject))
    start = context.index(near) + near.index(question.answer)
    text = word_question(question, rng.choice(WORDINGS[kind]))
    return {"context": context, "question": text, "answers": [{"text": question.answer, "answer_start": start}]}


def _phrase(thing: Thing) -> str:
    return f"{thing.size} {thing.color} {thing.shape} at the {thing.place}"


def _in_words(things: list[str], scene: Scene) -> str:
    return f"{'; '.join(things)}; {scene.ground} background."


def _entailment(holds: bool) -> str:
    return "entailment" if holds else "not_entailment"


def _describe(thing: Thing, names: tuple[str, ...]) -> Description:
    return Description(**{name: getattr(thing, name) for name in names})


def _absent(scene: Scene, description: Description, rng: random.Random) -> Description | None:
    """The description with one attribute changed so that nothing in the scene fits it, if chance finds one."""
    names = [name for name in _VALUES if getattr(description, name)]
    for _ in range(_TRIES):
        name = rng.choice(names)
        other = rng.choice([value for value in _VALUES[name] if value != getattr(description, name)])
        changed = dataclasses.replace(description, **{name: other})
        if not any(map(changed.fits, scene.things)):
            return changed
    return None


def _asked_about(scene: Scene, subject: Description | str) -> Thing:
    if isinstance(subject, str):
        return next(thing for thing in scene.things if thing.place == subject)
    return next(thing for thing in scene.things if subject.fits(thing))


FAULTS = ("order", "place", "missing", "doubled")


def _spoilt(words: list[str], fault: str, rng: random.Random) -> list[str]:
    """The seven words for a thing: the noun not last, "at the" not in front of the place, a word that cannot be
    spared missing, or a word doubled."""
    size, color, shape, at, the, row, column = words
    match fault:
        case "order":
            noun_first = ((shape, size, color), (shape, color, size), (size, shape, color), (color, shape, size))
            return [*rng.choice(noun_first), *words[3:]]
        case "place":
            moved = ((the, at, row, column), (at, row, the, column), (row, column, at, the), (at, the, column, row))
            return [*words[:3], *rng.choice(moved)]
        case "missing":
            gone = rng.choice((2, 3, 4))
            return [*words[:gone], *words[gone + 1 :]]
    twice = rng.randrange(len(words))
    return [*words[: twice + 1], *words[twice:]]
