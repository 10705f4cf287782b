"""Edit a scene of Shapes, the world of the embedded models: nine cells with or without a thing, and a ground.

Scenes are values, and the pictures are what `embedded.shapes` draws; a thing stands in the middle of its cell.
"""

import dataclasses
import random

from PIL import Image

from dept_vl.embedded.shapes.language import WORDINGS, word_answer, word_question
from dept_vl.embedded.shapes.questions import ask
from dept_vl.embedded.shapes.render import CELL, SIDE
from dept_vl.embedded.shapes.world import CELLS, GRID, MAX_THINGS, Scene, Thing, sample_scene

NOTHING = "nothing"
PLACES = tuple(Thing(cell, "", "", "").place for cell in range(CELLS))  # "top left" to "bottom right"
FIRST = Thing(0, "large", "red", "circle")  # whose color and size the choices show of an empty cell
SHOWN = 384  # pixels a side of a scene on the page


@dataclasses.dataclass(frozen=True)
class DrawnExample:
    """A scene, a question about it in the data set's words, and the right answer."""

    scene: Scene
    question: str
    answer: str


def put(scene: Scene, cell: int, *, shape: str, color: str, size: str) -> Scene:
    """The scene with that thing in the cell in place of what was there; shape "nothing" empties it."""
    things = [each for each in scene.things if each.cell != cell]
    if shape != NOTHING:
        things.append(Thing(cell, size, color, shape))
    return dataclasses.replace(scene, things=tuple(sorted(things, key=lambda each: each.cell)))


def choices(scene: Scene, cell: int) -> tuple[str, str, str]:
    """Shape, color and size of what is in the cell, as the page's choices show them."""
    thing = scene.at(cell)
    return (NOTHING, FIRST.color, FIRST.size) if thing is None else (thing.shape, thing.color, thing.size)


def cell_at(x: int | float, y: int | float, side: int = SHOWN) -> int:
    """The cell of a point in a picture of that many pixels a side."""
    column, row = (min(max(int(each * GRID / side), 0), GRID - 1) for each in (x, y))
    return row * GRID + column


def enlarged(picture: Image.Image) -> Image.Image:
    """A scene's picture at the size of the page, its pixels kept sharp."""
    return picture.resize((SHOWN, SHOWN), Image.Resampling.NEAREST)


def unlike_training(scene: Scene) -> str | None:
    """What sets the scene apart from all that the embedded models have seen, in a sentence; None: nothing does."""
    if not scene.things:
        return f"An empty picture: Shapes has one to {MAX_THINGS} things, so no answer means much."
    if len(scene.things) > MAX_THINGS:
        return f"{len(scene.things)} things: no model here has ever seen more than {MAX_THINGS} in a picture."
    return None


def drawn(rng: random.Random) -> Scene:
    """A scene from the eighth that no training picture shows, its things in the middle of their cells."""
    scene = sample_scene(rng, wanted_held_out=True)
    return dataclasses.replace(scene, things=tuple(dataclasses.replace(each, dx=0, dy=0) for each in scene.things))


def example(kind: str, seed: int) -> DrawnExample:
    """A question of that kind (`questions.KINDS`) about a scene drawn from the seed."""
    rng = random.Random(f"demo {kind} {seed}")
    while True:
        scene = drawn(rng)
        if (question := ask(scene, kind, rng)) is not None:
            return DrawnExample(scene, word_question(question, WORDINGS[kind][0]), word_answer(question))


assert SIDE == GRID * CELL and SHOWN % SIDE == 0
