import dataclasses
import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dept_vl.embedded.shapes.files import SIZES, scenes
from dept_vl.embedded.shapes.world import COLORS, SHAPES, Scene, Thing, held_out, sample_scene, sibling

seeds = st.integers(0, 2**32)


@given(seeds, st.booleans(), st.integers(1, 4))
def test_a_scene_has_one_to_most_things_in_reading_order_each_in_its_own_cell(seed, wanted, most):
    scene = sample_scene(random.Random(seed), wanted_held_out=wanted, most=most)
    cells = [thing.cell for thing in scene.things]
    assert 1 <= len(cells) <= most and cells == sorted(set(cells)) and set(cells) <= set(range(9))


@given(seeds, st.booleans())
def test_a_scene_is_held_out_exactly_when_wanted(seed, wanted):
    assert held_out(sample_scene(random.Random(seed), wanted_held_out=wanted)) is wanted


@given(seeds)
def test_moving_things_inside_their_cells_changes_neither_key_nor_split(seed):
    scene = sample_scene(random.Random(seed), wanted_held_out=False)
    moved = dataclasses.replace(scene, things=tuple(dataclasses.replace(t, dx=1 - t.dx) for t in scene.things))
    assert moved != scene and moved.key() == scene.key() and held_out(moved) == held_out(scene)


def test_every_visible_attribute_is_part_of_the_key():
    thing = Thing(4, "large", "red", "circle")
    base = Scene((thing,), "dark")
    others = [Scene((), "dark"), Scene((thing,), "light")]
    for change in ({"cell": 5}, {"size": "small"}, {"color": "blue"}, {"shape": "cross"}):
        others.append(Scene((dataclasses.replace(thing, **change),), "dark"))
    assert len({scene.key() for scene in [base, *others]}) == 7


def everything_shown(scene: Scene) -> set[tuple]:
    return {("ground", scene.ground)} | {(t.cell, name, getattr(t, name)) for t in scene.things
                                          for name in ("size", "color", "shape")}  # fmt: skip


@given(seeds)
def test_a_sibling_differs_in_exactly_one_visible_thing(seed):
    rng = random.Random(seed)
    scene = sample_scene(rng, wanted_held_out=False)
    other = sibling(scene, rng)
    assert other.key() != scene.key() and len(other.things) == len(scene.things)
    cells = [thing.cell for thing in other.things]
    assert cells == sorted(set(cells))
    gone, come = everything_shown(scene) - everything_shown(other), everything_shown(other) - everything_shown(scene)
    if {thing.cell for thing in scene.things} == set(cells):
        assert len(gone) == len(come) == 1
    else:  # a thing moved, with its size, color and shape
        assert len(gone) == len(come) == 3
        assert {each[1:] for each in gone} == {each[1:] for each in come}


def test_siblings_change_every_attribute_the_cell_and_the_ground():
    rng = random.Random(0)
    scene = sample_scene(rng, wanted_held_out=False, most=2)
    changes = set()
    for _ in range(60):
        new = everything_shown(sibling(scene, rng)) - everything_shown(scene)
        changes.add("cell" if len(new) == 3 else next(iter(new))[-2])
    assert changes == {"cell", "size", "color", "shape", "ground"}


def test_about_one_scene_in_eight_is_held_out():
    rng = random.Random(0)
    kept = total = 0
    for color in COLORS:
        for shape in SHAPES:
            for cell in range(9):
                for size in ("large", "small"):
                    for ground in ("dark", "light"):
                        more = Thing(8 - cell, "small", rng.choice(COLORS), "cross")
                        things = (Thing(cell, size, color, shape),) + ((more,) if cell != 4 else ())
                        kept += held_out(Scene(things, ground))
                        total += 1
    assert kept / total == pytest.approx(1 / 8, abs=0.03)


def test_the_split_is_the_one_that_the_shipped_models_were_kept_from():
    """Another hash would show pretraining pictures in the test split: change it only with new weights."""
    scene = Scene((Thing(0, "large", "red", "circle"), Thing(5, "small", "blue", "cross")), "dark")
    assert scene.key() == "dark|0largeredcircle|5smallbluecross"
    things = [Thing(cell, size, color, shape) for cell in range(9) for size in ("large", "small")
              for color in COLORS for shape in SHAPES]  # fmt: skip
    bits = "".join("01"[held_out(Scene((thing,), "dark"))] for thing in things)
    assert hashlib.sha256(bits.encode()).hexdigest()[:16] == "eb9d1125017ca30f"


def test_the_default_set_shows_no_scene_twice_and_holds_out_val_and_test_alone():
    splits = scenes(1, SIZES)
    assert {split: len(members) for split, members in splits.items()} == SIZES
    keys = [scene.key() for members in splits.values() for scene in members]
    assert len(set(keys)) == len(keys)
    for split, members in splits.items():
        assert {held_out(scene) for scene in members} == {split in ("val", "test")}


def test_another_seed_gives_other_scenes():
    one, two = ({scene.key() for each in scenes(seed, {"test": 50}).values() for scene in each} for seed in (1, 2))
    assert len(one & two) < 5
