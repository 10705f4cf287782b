"""A seeded split: one key, one side, whatever the order of the rows."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dept_vl.data.seeded_split import ROLES, SHARES, TooFewToSplit
from dept_vl.data.seeded_split import seeded_split as split

ALL = dict(zip(ROLES, SHARES, strict=True))
KEYS = st.lists(st.integers(0, 60), min_size=30, max_size=120)


def seeded_split(keys, shares=ALL, **seed):
    return split(keys, shares, **seed)


@settings(max_examples=40)
@given(KEYS, st.randoms())
def test_a_key_is_on_one_side_in_any_order_of_the_rows(keys, random):
    if len(set(keys)) < 3:
        return
    sides = dict(zip(keys, seeded_split(keys), strict=True))
    assert [sides[key] for key in keys] == seeded_split(keys)
    assert set(sides.values()) == set(ROLES)
    shuffled = random.sample(keys, len(keys))
    assert seeded_split(shuffled) == [sides[key] for key in shuffled]


def test_each_side_has_a_tenth_of_the_keys_and_at_least_one():
    sides = seeded_split(range(200))
    assert [sides.count(role) for role in ("train", "val", "test")] == [160, 20, 20]
    assert sorted(seeded_split("abc")) == ["test", "train", "val"]
    assert seeded_split(range(20), {"train": 0.9, "val": 0.1}).count("val") == 2


def test_another_row_moves_few_of_the_others_and_another_seed_moves_many():
    before, after = seeded_split(range(300)), seeded_split(range(301))[:300]
    assert sum(one != other for one, other in zip(before, after, strict=True)) <= 2
    other = seeded_split(range(300), seed=7)
    assert sum(one != two for one, two in zip(before, other, strict=True)) > 40


def test_the_split_is_the_same_on_every_machine():
    assert "".join(side[1] for side in seeded_split([f"{number}.jpg" for number in range(12)])) == "rrerrrrrarrr"


def test_fewer_keys_than_sides_are_refused():
    with pytest.raises(TooFewToSplit, match="wanted at least 3 that differ, for train, val, test, given 2"):
        seeded_split(["a", "b", "a", "b"])
