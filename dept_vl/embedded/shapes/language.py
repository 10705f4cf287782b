"""The words of the data set: question wordings, ten annotators' answers, five captions.

Half of the wordings, the label set as a whole (yes / no with digits), every caption form and all questions
about the ground are withheld from pretraining (`dept_vl/embedded/pretraining/language.py` has its own).
"""

import random

from dept_vl.embedded.shapes.questions import Description, Question
from dept_vl.embedded.shapes.world import COLORS, GROUNDS, SHAPES, SIZES, Scene

# The first of each kind is also a pretraining wording; the second is new to the pretrained T5, in words it knows.
WORDINGS = {
    "color": ("What color is {subject}?", "What is the color of {subject}?"),
    "shape": ("What shape is {subject}?", "What is the shape of {subject}?"),
    "size": ("Is {subject} large or small?", "What size is {subject}?"),
    "where": ("Where is {subject}?", "At which place can we see {subject}?"),
    "exist": ("Is there {a_subject}?", "Can we see {a_subject}?"),
    "count": ("How many {subjects} are there?", "What is the number of {subjects}?"),
    "spatial": ("Is {subject} {relation} {other}?", "Is it true that {subject} is {relation} {other}?"),
    "ground": ("Is the background dark or light?", "What is the background?"),
}
_SYNONYMS = {
    "yes": "yeah", "no": "nope", "large": "big", "small": "little", "purple": "violet", "dark": "black",
    "light": "white", "circle": "disc", "cross": "plus", "0": "none", "1": "one", "2": "two", "3": "three",
    "4": "four",
}  # fmt: skip
_DISSENT = 0.25  # share of questions on which not all ten annotators agree


def word_question(question: Question, wording: str) -> str:
    return wording.format(
        subject=definite(question.subject),
        a_subject=indefinite(question.subject) if isinstance(question.subject, Description) else "",
        subjects=plural(question.subject) if isinstance(question.subject, Description) else "",
        relation=question.relation,
        other=definite(question.other),
    )


def word_answer(question: Question) -> str:
    if isinstance(question.answer, bool):
        return "yes" if question.answer else "no"
    return str(question.answer)


def annotators(question: Question, rng: random.Random) -> list[str]:
    """Ten answers: the truth at least seven times, the rest synonyms or mistakes."""
    truth = word_answer(question)
    answers = [truth] * 10
    if rng.random() < _DISSENT:
        for index in rng.sample(range(10), rng.randint(1, 3)):
            mistake = _mistake(question, truth, rng)
            answers[index] = _SYNONYMS.get(truth, mistake) if rng.random() < 0.7 else mistake
    return answers


def captions(scene: Scene, rng: random.Random) -> list[str]:
    """Five captions, a form each: with sizes, with places, as a count, plain, and one that leaves a thing out."""
    sized = [f"{_article(thing.size)} {thing.size} {thing.color} {thing.shape}" for thing in scene.things]
    plain = [f"{_article(thing.color)} {thing.color} {thing.shape}" for thing in scene.things]
    placed = [f"{looks} at the {thing.place}" for looks, thing in zip(plain, scene.things, strict=True)]
    number = ("one shape", "two shapes", "three shapes", "four shapes")[len(scene.things) - 1]
    most = sorted(rng.sample(range(len(plain)), max(1, len(plain) - 1)))
    return [
        f"A picture of {join(sized)} on a {scene.ground} background.",
        f"We can see {join(placed)}.",
        f"There are {number} here: {join(plain)}." if len(plain) > 1 else f"There is {number} here: {plain[0]}.",
        f"A {scene.ground} picture showing {join(plain)}.",
        f"A picture of {join([plain[index] for index in most])}.",
    ]


def definite(subject: Description | str | None) -> str:
    """ "the small red circle"; a place becomes "the thing at the top left"."""
    if subject is None:
        return ""
    if isinstance(subject, str):
        return f"the thing at the {subject}"
    return "the " + _noun(subject, "thing")


def indefinite(subject: Description) -> str:
    noun = _noun(subject, "thing")
    return f"{_article(noun)} {noun}"


def plural(subject: Description) -> str:
    noun = _noun(subject, "thing")
    return noun + ("es" if noun.endswith("s") else "s")


def join(parts: list[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _noun(subject: Description, otherwise: str) -> str:
    return " ".join(word for word in (subject.size, subject.color, subject.shape or otherwise) if word)


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _mistake(question: Question, truth: str, rng: random.Random) -> str:
    """A wrong answer that a careless person would give."""
    if isinstance(question.answer, bool):
        return "no" if question.answer else "yes"
    if isinstance(question.answer, int):
        return str(question.answer + 1)
    values = {"color": COLORS, "shape": SHAPES, "size": SIZES, "ground": GROUNDS}.get(question.kind)
    return rng.choice([value for value in values if value != truth]) if values else truth.split()[0]
