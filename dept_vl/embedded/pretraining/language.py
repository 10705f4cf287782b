"""The language in which tiny-t5 is pretrained: dialects, question wordings, descriptions.

What pretraining withholds, so that an adapter has something to do (held by tests/embedded/pretraining):
- the downstream prompt formats: every pretraining input opens with one of the words of `DIALECTS` or "describe";
- the label set: yes / no occurs only with number words ("speak"), digits only with true / false ("record");
- the second wording of every question kind, and every caption form of the data set;
- one whole kind: nobody asks about the ground here (descriptions mention it).
"""

import dataclasses
import random

from dept_vl.embedded.shapes import language
from dept_vl.embedded.shapes.questions import KINDS, Question, ask
from dept_vl.embedded.shapes.text_rows import tell
from dept_vl.embedded.shapes.world import Scene

ASKED = (*(kind for kind in KINDS if kind != "ground"), "side")
"""The kinds asked here. "side" is not in the data set: an open question about the same fact as "spatial", whose
truth is a match of two lookups with a stated relation and does not leave chance on its own (docs/decisions.md)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Dialect:
    """The words in which one kind of input wants its answers."""

    truth: tuple[str, str]  # true, false
    numbers: tuple[str, ...]  # zero to four
    sizes: dict[str, str]


DIALECTS = {
    "speak": Dialect(("yes", "no"), ("none", "one", "two", "three", "four"), {"large": "large", "small": "small"}),
    "record": Dialect(("true", "false"), ("0", "1", "2", "3", "4"), {"large": "big", "small": "little"}),
    "judge": Dialect(("right", "wrong"), ("none", "one", "two", "three", "four"), {"large": "big", "small": "small"}),
}
_WORDINGS = {
    "color": (language.WORDINGS["color"][0], "name the color of {subject}"),
    "shape": (language.WORDINGS["shape"][0], "name the shape of {subject}"),
    "size": (language.WORDINGS["size"][0], "name the size of {subject}"),
    "where": (language.WORDINGS["where"][0], "which place has {subject}?"),
    "exist": (language.WORDINGS["exist"][0], "is {a_subject} in the picture?"),
    "count": (language.WORDINGS["count"][0], "name the number of {subjects}"),
    "spatial": (language.WORDINGS["spatial"][0], "can it be true that {subject} is {relation} {other}?"),
    "side": ("is {subject} {relation} {other}?",),
}
_EITHER = {("left", "right"): "left or right of", ("above", "below"): "above or below"}


@dataclasses.dataclass(frozen=True, slots=True)
class Lesson:
    """One pretraining example: input text, target text, and the scene that is given beside the text (if any)."""

    kind: str
    source: str
    target: str
    scene: Scene | None


def question_lesson(scene: Scene, kind: str, rng: random.Random, *, told: bool) -> Lesson | None:
    """A question of that kind in some dialect, or None where the scene gives no ground for one.

    The scene is told in words behind the question, or given beside it (as slots, see `t5`).
    """
    question = _ask_side(scene, rng) if kind == "side" else ask(scene, kind, rng)
    if question is None:
        return None
    name = rng.choice(tuple(DIALECTS))
    text = f"{name}: {language.word_question(question, rng.choice(_WORDINGS[kind]))}"
    answer = word_answer(question, DIALECTS[name])
    if told:
        return Lesson(kind, f"{text} given: {tell(scene, rng)}", answer, None)
    return Lesson(kind, text, answer, scene)


def _ask_side(scene: Scene, rng: random.Random) -> Question | None:
    """A spatial question turned open: "left" or "right", "above" or "below" is the answer."""
    question = ask(scene, "spatial", rng)
    if question is None:
        return None
    pair = next(pair for pair in _EITHER if question.relation.split()[0] in pair)
    stated = question.relation.split()[0]
    true = stated if question.answer else pair[1 - pair.index(stated)]
    return Question("side", true, question.subject, _EITHER[pair], question.other)


def description_lesson(scene: Scene, rng: random.Random) -> Lesson:
    form, text = rng.choice(descriptions(scene))
    return Lesson("describe", f"describe {form}:", text, scene)


def word_answer(question: Question, dialect: Dialect) -> str:
    if isinstance(question.answer, bool):
        return dialect.truth[not question.answer]
    if isinstance(question.answer, int):
        return dialect.numbers[question.answer]
    return dialect.sizes[question.answer] if question.kind == "size" else question.answer


def descriptions(scene: Scene) -> list[tuple[str, str]]:
    """The pretraining captions, (name, text): the data set's words in other forms."""
    sized = [f"a {thing.size} {thing.color} {thing.shape}" for thing in scene.things]
    plain = [f"{'an' if thing.color == 'orange' else 'a'} {thing.color} {thing.shape}" for thing in scene.things]
    placed = [f"{looks} at the {thing.place}" for looks, thing in zip(plain, scene.things, strict=True)]
    number = ("one", "two", "three", "four")[len(scene.things) - 1]
    shapes = "shape" if number == "one" else "shapes"
    return [
        ("large", f"There is {language.join(sized)}. The background is {scene.ground}."),
        ("small", f"Here is {language.join(plain)}."),
        ("place", f"A picture: {language.join(placed)}."),
        ("number", f"{number} {shapes} can be seen: {language.join(plain)}."),
        ("all", f"We see {number} {shapes} on a {scene.ground} background: {language.join(sized)}."),
        ("picture", f"There are {language.join(plain)} in the picture of a {scene.ground} place, showing here."),
    ]


def sample_text(scene: Scene, rng: random.Random) -> list[str]:
    """A few lines of everything, for the tokenizer."""
    lessons = [question_lesson(scene, kind, rng, told=True) for kind in rng.sample(ASKED, 2)]
    return [line for each in [*lessons, description_lesson(scene, rng)] if each for line in (each.source, each.target)]
