"""The truth of a worded question, read off the scene by its words alone: nothing is shared with the generator."""

import functools
import re

from dept_vl.embedded.shapes.world import Scene, Thing

ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "center", "right")
SINGULAR = {"circles": "circle", "squares": "square", "triangles": "triangle", "crosses": "cross", "things": "thing"}
RELATION = "(?:left|right|above|below)(?: of)?"
FIELDS = {
    "subject": "the .+?", "other": "the .+?", "a_subject": "an? .+", "subjects": ".+",
    "relation": f"{RELATION}(?: or {RELATION})?",
}  # fmt: skip
THING = re.compile(
    r"(?:(large|small) )?(red|green|blue|yellow|purple|orange) (circle|square|triangle|cross)"
    r"(?: at the ((?:top|middle|bottom) (?:left|center|right)))?"
)


def place(thing: Thing) -> str:
    return f"{ROWS[thing.cell // 3]} {COLUMNS[thing.cell % 3]}"


@functools.cache
def pattern(wording: str) -> re.Pattern[str]:
    """A wording as a pattern with a group for each of its fields."""
    text = re.escape(wording)
    for field in re.findall(r"\\{(\w+)\\}", text):
        text = text.replace(rf"\{{{field}\}}", f"(?P<{field}>{FIELDS[field]})")
    return re.compile(text, re.IGNORECASE)


def things_of(phrase: str, scene: Scene) -> list[Thing]:
    """The things that a noun phrase fits: "the small red circle", "crosses", "the thing at the top left"."""
    noun, _, where = phrase.partition(" at the ")
    fitting = [thing for thing in scene.things if where in ("", place(thing))]
    for word in noun.split():
        word = SINGULAR.get(word, word)
        if word not in ("the", "a", "an", "thing"):
            fitting = [thing for thing in fitting if word in (thing.size, thing.color, thing.shape)]
    return fitting


def the_thing(phrase: str, scene: Scene) -> Thing:
    [only] = things_of(phrase, scene)
    return only


def truth(kind: str, wording: str, text: str, scene: Scene) -> str:
    """The answer in the words of the data set; a "the" that fits no thing or several is a ValueError."""
    said = pattern(wording).fullmatch(text)
    if said is None:
        raise ValueError(f"wanted a question worded {wording!r}, given {text!r}")
    match kind:
        case "color" | "shape" | "size":
            return getattr(the_thing(said["subject"], scene), kind)
        case "where":
            return place(the_thing(said["subject"], scene))
        case "exist":
            return "yes" if things_of(said["a_subject"], scene) else "no"
        case "count":
            return str(len(things_of(said["subjects"], scene)))
        case "ground":
            return scene.ground
    one, two = the_thing(said["subject"], scene), the_thing(said["other"], scene)
    row, column = one.cell // 3 - two.cell // 3, one.cell % 3 - two.cell % 3
    holds = {"left": column < 0, "right": column > 0, "above": row < 0, "below": row > 0}
    if kind == "spatial":
        return "yes" if holds[said["relation"].split()[0]] else "no"
    [side] = [words for words in said["relation"].split(" or ") if holds[words.split()[0]]]
    return side.split()[0]


def told(text: str) -> list[tuple[str, str, str, str]]:
    """Size, color, shape and place of every thing that a text names, in its order; "" where it does not say."""
    return THING.findall(text)
