"""Pictures of scenes: 96 x 96 pixels, nine 32-pixel cells. Deterministic: the same scene, the same pixels."""

import functools

import numpy as np
from PIL import Image, ImageDraw

from dept_vl.embedded.shapes.world import Scene, Thing

CELL = 32
SIDE = 3 * CELL
_FINE = 4  # each cell is drawn four times as large and scaled down, so that edges are smooth
_REACH = {"large": 13, "small": 7}  # half the extent of a thing, pixels
_INK = {
    "red": (214, 39, 40),
    "green": (44, 160, 44),
    "blue": (40, 90, 220),
    "yellow": (240, 210, 40),
    "purple": (150, 60, 190),
    "orange": (255, 127, 14),
}
_PAPER = {"dark": (38, 40, 48), "light": (226, 224, 216)}


def render(scene: Scene) -> Image.Image:
    """The scene as an RGB picture of `SIDE` x `SIDE` pixels."""
    return Image.fromarray(render_array(scene))


def render_array(scene: Scene) -> np.ndarray:
    """The scene's pixels, uint8 [96, 96, 3]."""
    pixels = np.empty((SIDE, SIDE, 3), dtype=np.uint8)
    pixels[:] = _PAPER[scene.ground]
    for thing in scene.things:
        top, left = thing.row * CELL, thing.column * CELL
        pixels[top : top + CELL, left : left + CELL] = _tile(
            thing.size, thing.color, thing.shape, thing.dx, thing.dy, scene.ground
        )
    return pixels


@functools.lru_cache(maxsize=65536)
def _tile(size: str, color: str, shape: str, dx: int, dy: int, ground: str) -> np.ndarray:
    fine = Image.new("RGB", (CELL * _FINE, CELL * _FINE), _PAPER[ground])
    _draw(ImageDraw.Draw(fine), Thing(0, size, color, shape, dx, dy))
    return np.asarray(fine.resize((CELL, CELL), Image.Resampling.LANCZOS))


def _draw(pen: ImageDraw.ImageDraw, thing: Thing) -> None:
    reach = _REACH[thing.size] * _FINE
    x, y = (CELL // 2 + thing.dx) * _FINE, (CELL // 2 + thing.dy) * _FINE
    ink = _INK[thing.color]
    box = (x - reach, y - reach, x + reach, y + reach)
    if thing.shape == "circle":
        pen.ellipse(box, fill=ink)
    elif thing.shape == "square":
        pen.rectangle(box, fill=ink)
    elif thing.shape == "triangle":
        pen.polygon([(x, y - reach), (x + reach, y + reach), (x - reach, y + reach)], fill=ink)
    else:  # cross: two bars
        arm = reach // 3
        pen.rectangle((x - reach, y - arm, x + reach, y + arm), fill=ink)
        pen.rectangle((x - arm, y - reach, x + arm, y + reach), fill=ink)
