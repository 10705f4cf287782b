"""Drawing scenes of Shapes on the page."""

import random

import pytest

from dept_vl.embedded.shapes.language import WORDINGS
from dept_vl.embedded.shapes.questions import KINDS
from dept_vl.embedded.shapes.render import render
from dept_vl.embedded.shapes.world import CELLS, MAX_THINGS, Scene, Thing, held_out
from dept_vl.serve.demo.editor import (
    NOTHING,
    PLACES,
    SHOWN,
    cell_at,
    choices,
    drawn,
    enlarged,
    example,
    put,
    unlike_training,
)
from tests.scene_reading import truth

EMPTY = Scene((), "dark")


def test_a_drawn_scene_is_the_picture_that_shapes_draws_of_it():
    scene = put(EMPTY, 8, shape="cross", color="blue", size="small")
    scene = put(scene, 0, shape="circle", color="red", size="large")
    wanted = Scene((Thing(0, "large", "red", "circle"), Thing(8, "small", "blue", "cross")), "dark")
    assert scene == wanted  # in reading order, whatever came first
    shown = enlarged(render(scene))
    assert shown.size == (SHOWN, SHOWN)
    assert shown.resize((96, 96), 0).tobytes() == render(wanted).tobytes()


def test_a_cell_holds_one_thing_and_can_be_emptied():
    scene = put(EMPTY, 4, shape="circle", color="red", size="large")
    changed = put(scene, 4, shape="square", color="green", size="small")
    assert changed.things == (Thing(4, "small", "green", "square"),)
    assert choices(changed, 4) == ("square", "green", "small")
    assert choices(changed, 5)[0] == NOTHING
    assert put(changed, 4, shape=NOTHING, color="green", size="small") == EMPTY


def test_a_point_of_the_picture_is_in_its_cell():
    for cell in range(CELLS):
        row, column = divmod(cell, 3)
        third = SHOWN / 3
        assert cell_at(third * (column + 0.5), third * (row + 0.5)) == cell
        assert PLACES[cell] == Thing(cell, "", "", "").place
    assert (cell_at(0, 0), cell_at(SHOWN, SHOWN)) == (0, 8)


def test_what_no_model_has_seen_is_said():
    scene = EMPTY
    assert "empty" in unlike_training(scene).lower()
    for cell in range(MAX_THINGS):
        scene = put(scene, cell, shape="circle", color="red", size="large")
        assert unlike_training(scene) is None
    assert "5 things" in unlike_training(put(scene, 8, shape="cross", color="red", size="large"))


@pytest.mark.parametrize("kind", KINDS)
def test_an_examples_answer_is_what_its_scene_shows(kind):
    for seed in range(5):
        given = example(kind, seed)
        assert given.answer == truth(kind, WORDINGS[kind][0], given.question, given.scene)
        assert held_out(given.scene) and given == example(kind, seed)
    assert len({example(kind, seed).scene for seed in range(5)}) > 1


def test_a_scene_by_chance_has_its_things_in_the_middle():
    for seed in range(20):
        scene = drawn(random.Random(seed))
        assert {(each.dx, each.dy) for each in scene.things} == {(0, 0)} and unlike_training(scene) is None
