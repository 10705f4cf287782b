import dataclasses
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dept_vl.embedded.shapes.render import render, render_array
from dept_vl.embedded.shapes.world import COLORS, GROUNDS, SHAPES, SIZES, Scene, Thing, sample_scene, sibling

seeds = st.integers(0, 2**32)
REACH = {"large": 2, "small": 6}  # pixels that a thing of that size may move


def picture(ground: str = "dark", **changes) -> np.ndarray:
    thing = dataclasses.replace(Thing(4, "large", "red", "circle"), **changes)
    return render_array(Scene((thing,), ground)).astype(int)


def test_a_picture_is_rgb_of_96_by_96_pixels():
    scene = sample_scene(random.Random(0), wanted_held_out=False)
    image = render(scene)
    assert (image.mode, image.size) == ("RGB", (96, 96))
    assert np.array_equal(np.asarray(image), render_array(scene)) and render_array(scene).dtype == np.uint8


@given(seeds)
def test_the_same_scene_gives_the_same_pixels_and_a_sibling_others(seed):
    rng = random.Random(seed)
    scene = sample_scene(rng, wanted_held_out=False)
    pixels = render_array(scene)
    assert np.array_equal(pixels, render_array(scene))
    assert not np.array_equal(pixels, render_array(sibling(scene, rng)))


@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_thing_stays_whole_and_inside_its_cell_wherever_it_moves(shape, size, ground):
    paper = render_array(Scene((), ground)).astype(int)
    assert (paper == paper[0, 0]).all()
    still = picture(ground, size=size, shape=shape)
    for dx in (-REACH[size], 0, REACH[size]):
        for dy in (-REACH[size], 0, REACH[size]):
            moved = picture(ground, size=size, shape=shape, dx=dx, dy=dy)
            outside = moved - paper
            outside[32:64, 32:64] = 0
            assert not outside.any()
            assert np.abs(np.roll(still, (dy, dx), (0, 1)) - moved).max() <= 20  # of 255: smoothing at the edge


def test_every_attribute_is_to_be_seen():
    seen = {
        picture(size=size, color=color, shape=shape).tobytes() for size in SIZES for color in COLORS for shape in SHAPES
    }
    assert len(seen) == len(SIZES) * len(COLORS) * len(SHAPES)
    assert not np.array_equal(picture("dark"), picture("light"))
    assert not np.array_equal(picture(dx=1), picture()) and not np.array_equal(picture(dy=1), picture())


@pytest.mark.parametrize("shape", SHAPES)
def test_the_middle_of_a_thing_has_its_color_and_nothing_else_does(shape):
    inks = {tuple(picture(color=color, shape=shape)[48, 48]) for color in COLORS}
    assert len(inks) == len(COLORS)
    assert inks.isdisjoint(tuple(picture(ground, shape=shape)[0, 0]) for ground in GROUNDS)


@pytest.mark.parametrize("cell", range(9))
def test_a_cell_stands_in_row_major_order(cell):
    drawn = (picture(cell=cell) != picture(cell=cell)[40 if cell // 3 != 1 else 0, 0]).any(2)
    rows, columns = np.nonzero(drawn)
    assert (rows.mean() // 32 * 3 + columns.mean() // 32) == cell
