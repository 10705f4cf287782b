"""The published procedure, and the sizes that it gives every task: DePT's Table 9."""

import importlib
import pkgutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dept_vl.tasks
from dept_vl.data.text_splits import BadSplit, permutation, published_split, split_rows
from dept_vl.tasks.source import Splits
from dept_vl.tasks.text_task import TextTask
from tests.tasks.text_rows import split_sizes


def text_tasks():
    """Every text task that stands in a family file, by name."""
    families = ("glue", "superglue", "mrqa", "squad", "xsum", "other")
    found = {}
    for module in pkgutil.iter_modules(dept_vl.tasks.__path__):
        if module.name in families:
            tasks = getattr(importlib.import_module(f"dept_vl.tasks.{module.name}"), module.name.upper())
            found.update((task.name, task) for task in tasks if isinstance(task, TextTask))
    return found


UNDER = [task.under(protocol) for task in text_tasks().values() for protocol in task.protocols]


def sized(task):
    """Whether the published sizes follow from the numbers of rows alone."""
    return task.splits.sizes is not None and task.expand is None and task.splits.trained is None


@pytest.mark.parametrize("task", [pytest.param(t, id=f"{t.name}-{t.protocol}") for t in UNDER if sized(t)])
def test_whole_sets_split_into_the_published_sizes(task):
    assert split_sizes(task.splits, task.source.whole) == task.splits.sizes


@pytest.mark.parametrize("task", [pytest.param(t, id=f"{t.name}-{t.protocol}") for t in UNDER])
def test_every_protocol_splits_the_whole_set(task):
    assert min(split_sizes(task.splits, task.source.whole)) > 0


def test_the_sizes_of_the_published_runs():
    """Of their logs: github.com/ZhengxiangShi/DePT, checkpoints/*/output.log."""
    assert split_sizes(Splits("halve"), {"train": 8551, "validation": 1043}) == (8551, 521, 522)
    assert split_sizes(Splits("from_train"), {"train": 67349, "validation": 872}) == (66349, 1000, 872)
    yelp = Splits("from_train", test="test", most_train=100_000)
    assert split_sizes(yelp, {"train": 560_000, "test": 38_000}) == (100_000, 1000, 38_000)
    mnli = Splits("own", val="validation_mismatched", test="validation_matched")
    sizes = {"train": 392_702, "validation_mismatched": 9832, "validation_matched": 9815}
    assert split_sizes(mnli, sizes) == (392_702, 9832, 9815)


def test_the_permutation_is_torchs_of_seed_42():
    assert permutation(10).tolist() == [2, 6, 1, 8, 4, 5, 0, 9, 3, 7]


def test_val_and_test_are_the_first_and_the_second_half():
    val, test = (split_rows(Splits("halve"), role, 277) for role in ("val", "test"))
    assert (len(val), len(test)) == (138, 139)
    assert np.array_equal(np.concatenate([val, test]), permutation(277))
    assert split_rows(Splits("halve"), "val", 10).tolist() == [2, 6, 1, 8, 4]
    assert split_rows(Splits("halve"), "train", 4).tolist() == [0, 1, 2, 3]


def test_the_held_out_rows_come_first_and_train_keeps_the_order_of_the_permutation():
    splits = Splits("from_train", held_out=1000, most_train=3000)
    permuted = permutation(20_000)
    assert np.array_equal(split_rows(splits, "val", 20_000), permuted[:1000])
    assert np.array_equal(split_rows(splits, "train", 20_000), permuted[1000:4000])
    assert split_rows(splits, "test", 5).tolist() == [0, 1, 2, 3, 4]


def test_a_part_of_a_set_holds_out_a_tenth():
    assert len(split_rows(Splits("from_train"), "val", 300)) == 30
    assert len(split_rows(Splits("from_train"), "train", 300)) == 270
    assert len(split_rows(Splits("from_train"), "val", 9_999)) == 999
    assert len(split_rows(Splits("from_train"), "val", 10_000)) == 1000


@given(st.integers(2, 400))
def test_halves_are_disjoint_and_whole(rows):
    val, test = (split_rows(Splits("halve"), role, rows) for role in ("val", "test"))
    assert sorted([*val, *test]) == list(range(rows)) and len(test) - len(val) == rows % 2


@given(st.integers(10, 400), st.integers(1, 50))
def test_train_and_its_held_out_rows_are_disjoint_and_whole(rows, held_out):
    splits = Splits("from_train", held_out=held_out)
    train, val = (split_rows(splits, role, rows) for role in ("train", "val"))
    assert sorted([*val, *train]) == list(range(rows)) and 1 <= len(val) <= min(held_out, rows // 10)


@pytest.mark.parametrize(
    ("splits", "published"),
    [
        (Splits("own", val="validation_mismatched", test="validation_matched"),
         ("train", "validation_mismatched", "validation_matched")),
        (Splits("halve"), ("train", "validation", "validation")),
        (Splits("from_train", test="test"), ("train", "train", "test")),
    ],
)  # fmt: skip
def test_each_role_is_made_of_one_published_split(splits, published):
    assert tuple(published_split(splits, role) for role in ("train", "val", "test")) == published


def test_an_unknown_split_is_refused():
    with pytest.raises(BadSplit, match=r"split: wanted one of train, val, test, given 'tset'\. Did you mean 'test'\?"):
        published_split(Splits("own"), "tset")
    with pytest.raises(BadSplit, match=r"given 'validation'"):
        split_rows(Splits("halve"), "validation", 10)


def test_too_few_rows_are_refused():
    with pytest.raises(BadSplit, match="validation: wanted at least 2 rows to halve into val and test, given 1"):
        split_rows(Splits("halve"), "test", 1)
    for role in ("train", "val"):
        with pytest.raises(BadSplit, match="train: wanted at least 10 rows, a tenth of which .* given 9"):
            split_rows(Splits("from_train"), role, 9)
        with pytest.raises(BadSplit, match="held_out: wanted at least 1 row of train for val, given 0"):
            split_rows(Splits("from_train", held_out=0), role, 100)


def test_what_belongs_together_is_held_out_together():
    splits = Splits("from_train", held_out=4)
    groups = [number // 5 for number in range(60)]  # 12 passages of 5 rows
    val, train = (split_rows(splits, role, 60, groups).tolist() for role in ("val", "train"))
    assert sorted(val + train) == list(range(60)) and len(val) == 5
    assert not {groups[row] for row in val} & {groups[row] for row in train}
    assert val[0] == permutation(60)[0]
    with pytest.raises(BadSplit, match="wanted at least 2 groups, one of them to hold out, given 1 of 60 rows"):
        split_rows(splits, "val", 60, ["one"] * 60)
