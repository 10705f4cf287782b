"""Scenes: one to four things on a 3 x 3 grid, on a dark or a light ground.

A scene is a value. `held_out` splits all scenes by a hash of what they show: pictures of the val and
test splits are held out, so no pretraining step and no training image can show one of them.
"""

import dataclasses
import random
import zlib

SHAPES = ("circle", "square", "triangle", "cross")
COLORS = ("red", "green", "blue", "yellow", "purple", "orange")
SIZES = ("large", "small")
GROUNDS = ("dark", "light")
ROWS = ("top", "middle", "bottom")
COLUMNS = ("left", "center", "right")
GRID = 3
CELLS = GRID * GRID
MAX_THINGS = 4
HELD_OUT_SHARE = 8  # one scene in eight is kept for the val and test splits


@dataclasses.dataclass(frozen=True, slots=True)
class Thing:
    """One object: its cell (0 to 8, row-major), size, color, shape and its offset in pixels from the centre."""

    cell: int
    size: str
    color: str
    shape: str
    dx: int = 0
    dy: int = 0

    @property
    def row(self) -> int:
        return self.cell // GRID

    @property
    def column(self) -> int:
        return self.cell % GRID

    @property
    def place(self) -> str:
        return f"{ROWS[self.row]} {COLUMNS[self.column]}"


@dataclasses.dataclass(frozen=True, slots=True)
class Scene:
    """Things in reading order (top left to bottom right) on a ground."""

    things: tuple[Thing, ...]
    ground: str

    def at(self, cell: int) -> Thing | None:
        return next((thing for thing in self.things if thing.cell == cell), None)

    def key(self) -> str:
        """What the scene shows, offsets aside: two scenes with one key have the same description."""
        return self.ground + "".join(f"|{each.cell}{each.size}{each.color}{each.shape}" for each in self.things)


def held_out(scene: Scene) -> bool:
    """Whether the scene belongs to the eighth of all scenes that only val and test pictures may show."""
    return zlib.crc32(scene.key().encode()) % HELD_OUT_SHARE == 0


def sample_thing(cell: int, rng: random.Random) -> Thing:
    size = rng.choice(SIZES)
    reach = 2 if size == "large" else 6  # pixels a thing of that size may move inside its 32-pixel cell
    return Thing(
        cell, size, rng.choice(COLORS), rng.choice(SHAPES), rng.randint(-reach, reach), rng.randint(-reach, reach)
    )


def sample_scene(rng: random.Random, *, wanted_held_out: bool, most: int = MAX_THINGS) -> Scene:
    """A scene with 1 to `most` things, from the held-out eighth or from the rest. Sometimes two things look alike,
    so that counting has something to count."""
    while True:
        number = rng.randint(1, most)
        cells = sorted(rng.sample(range(CELLS), number))
        things = [sample_thing(cell, rng) for cell in cells]
        if number > 1 and rng.random() < 0.5:
            source, target = rng.sample(range(number), 2)
            things[target] = _made_alike(things[target], things[source], rng)
        scene = Scene(tuple(things), rng.choice(GROUNDS))
        if held_out(scene) == wanted_held_out:
            return scene


def sibling(scene: Scene, rng: random.Random) -> Scene:
    """The same scene with exactly one visible change: a thing's shape, color, size or cell, or the ground."""
    change = rng.choice(("shape", "shape", "color", "size", "cell", "ground"))
    if change == "ground":
        return dataclasses.replace(scene, ground=GROUNDS[1 - GROUNDS.index(scene.ground)])
    index = rng.randrange(len(scene.things))
    thing = scene.things[index]
    if change == "cell":
        free = [cell for cell in range(CELLS) if scene.at(cell) is None]
        changed = dataclasses.replace(thing, cell=rng.choice(free))
    elif change == "size":
        changed = sample_thing(thing.cell, rng)
        while changed.size == thing.size:
            changed = sample_thing(thing.cell, rng)
        changed = dataclasses.replace(changed, color=thing.color, shape=thing.shape)
    else:
        values = SHAPES if change == "shape" else COLORS
        other = rng.choice([value for value in values if value != getattr(thing, change)])
        changed = dataclasses.replace(thing, **({"shape": other} if change == "shape" else {"color": other}))
    things = sorted([*scene.things[:index], changed, *scene.things[index + 1 :]], key=lambda each: each.cell)
    return dataclasses.replace(scene, things=tuple(things))


def _made_alike(thing: Thing, model: Thing, rng: random.Random) -> Thing:
    """`thing` with the model's shape or color (or both)."""
    kind = rng.choice(("shape", "color", "both"))
    return dataclasses.replace(
        thing,
        shape=model.shape if kind in ("shape", "both") else thing.shape,
        color=model.color if kind in ("color", "both") else thing.color,
    )
