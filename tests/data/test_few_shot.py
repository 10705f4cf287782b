import collections
import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dept_vl.data.few_shot import BadFewShot, FewShot
from dept_vl.tasks.example import Example
from dept_vl.tasks.source import Source, Splits
from dept_vl.tasks.text_task import TextTask

TASK = TextTask(
    name="kettles",
    source=Source(hub=None, subset=None, folders=(), files={}, home="nowhere"),
    splits=Splits("own"),
    template="{text}",
    context="text",
    scores=lambda task, predictions, examples: {"accuracy": 0.0},
    selecting=("accuracy",),
    protocols={"as_published": {}},
    label_names=("cold", "warm", "hot"),
)
NUMBERS = dataclasses.replace(TASK, label_names=(), choices=tuple(f"{tenths / 10:.1f}" for tenths in range(51)))
FREE = dataclasses.replace(TASK, label_names=())


def examples(answers):
    return [
        Example(id=f"train-{n}", source=f"text {n}", targets=(answer,), weights=(1.0,), references=(answer,))
        for n, answer in enumerate(answers)
    ]


def ids(chosen):
    return [example.id for example in chosen]


MANY = examples([str(n % 7 % 3) for n in range(210)])  # of class 0: 90, of 1 and 2: 60 each
answers = st.lists(st.sampled_from("012"), min_size=1, max_size=60)


def test_every_class_gets_k():
    for k in (1, 4, 16, 60):
        chosen = FewShot(k=k).choose("train", TASK, MANY)
        assert collections.Counter(each.targets[0] for each in chosen) == {"0": k, "1": k, "2": k}
        assert len(set(ids(chosen))) == 3 * k and set(chosen) <= set(MANY)


def test_the_draws_are_the_recorded_ones():
    """numpy's generator of [draw, 0 for train, class]: a change would make other few-shot sets of the same name."""
    drawn = FewShot(k=2).choose("train", TASK, MANY)
    assert ids(drawn) == ["train-43", "train-48", "train-63", "train-107", "train-121", "train-200"]
    assert ids(FewShot(k_total=3, draw=1).choose("train", TASK, MANY)) == ["train-5", "train-7", "train-136"]


@settings(max_examples=50)
@given(answers, st.integers(1, 5), st.integers(0, 3))
def test_a_draw_depends_only_on_the_rows_k_and_its_number(given_answers, k, draw):
    rows = examples(given_answers)
    few = min(collections.Counter(given_answers)[name] for name in "012")
    if few < k:
        with pytest.raises(BadFewShot):
            FewShot(k=k, draw=draw).choose("train", TASK, rows)
        return
    first = FewShot(k=k, draw=draw).choose("train", TASK, rows)
    named = dataclasses.replace(TASK, name="other", template="({text})")
    assert first == FewShot(k=k, draw=draw, val="k").choose("train", named, rows)
    assert ids(first) == sorted(ids(first), key=lambda name: int(name.partition("-")[2]))


def test_a_larger_k_adds_to_a_smaller_one():
    for fields in ("k", "k_total"):
        chosen = [set(FewShot(**{fields: k}).choose("train", TASK, MANY)) for k in (4, 16, 32)]
        assert chosen[0] < chosen[1] < chosen[2]


def test_draws_differ():
    for fields in ({"k": 8}, {"k_total": 8}):
        chosen = {tuple(ids(FewShot(**fields, draw=draw).choose("train", TASK, MANY))) for draw in range(5)}
        assert len(chosen) == 5


def test_k_total_does_not_balance():
    chosen = FewShot(k_total=100).choose("train", TASK, MANY)
    counts = collections.Counter(each.targets[0] for each in chosen)
    assert len(chosen) == 100 == counts.total() and len(set(counts.values())) > 1
    assert FewShot(k_total=210).choose("train", TASK, MANY) == MANY


def test_val_full_is_not_drawn_and_test_never_is():
    assert FewShot(k=4).draws("train") and not FewShot(k=4).draws("val")
    assert FewShot(k=4, val="k").draws("val") and not FewShot(k=4, val="k").draws("test")


def test_val_k_takes_as_many_as_train_or_what_there_is():
    few = examples(["0"] * 30 + ["1"] * 30 + ["2"] * 3)
    chosen = FewShot(k=8, val="k").choose("val", TASK, few)
    assert collections.Counter(each.targets[0] for each in chosen) == {"0": 8, "1": 8, "2": 3}
    assert len(FewShot(k_total=20, val="k").choose("val", TASK, few)) == 20
    assert FewShot(k_total=64, val="k").choose("val", TASK, few) == few


def test_val_is_not_drawn_by_the_numbers_that_drew_train():
    shots = FewShot(k=8, val="k")
    assert ids(shots.choose("train", TASK, MANY)) != ids(shots.choose("val", TASK, MANY))


def test_numbers_count_as_two_classes_split_at_2_5():
    rows = examples(["0.0", "2.4", "2.5", "2.6", "5.0", "3.8"])
    chosen = FewShot(k=3).choose("train", NUMBERS, rows)
    assert chosen == rows
    message = r"kettles: wanted 4 training examples of the class 'up to 2\.5', given 3"
    with pytest.raises(BadFewShot, match=message):
        FewShot(k=4).choose("train", NUMBERS, rows)


def test_words_are_classes_like_digits():
    words = dataclasses.replace(TASK, label_form="words")
    rows = [dataclasses.replace(each, targets=(TASK.label_names[int(each.targets[0])],)) for each in MANY]
    assert ids(FewShot(k=5).choose("train", words, rows)) == ids(FewShot(k=5).choose("train", TASK, MANY))


def test_a_short_class_is_named():
    few = examples(["0"] * 30 + ["1"] * 30 + ["2"] * 3)
    message = "kettles: wanted 4 training examples of the class 'hot', given 3"
    with pytest.raises(BadFewShot, match=message):
        FewShot(k=4).choose("train", TASK, few)
    with pytest.raises(BadFewShot, match="of the class 'warm', given 0"):
        FewShot(k=1).choose("train", TASK, examples(["0", "2"]))


def test_more_than_there_is_is_refused():
    with pytest.raises(BadFewShot, match="kettles: wanted 211 training examples in all, given 210"):
        FewShot(k_total=211).choose("train", TASK, MANY)


def test_k_of_each_class_needs_classes():
    with pytest.raises(BadFewShot, match="kettles: wanted classes .* given free answers; use k_shot_total"):
        FewShot(k=4).choose("train", FREE, MANY)
    assert len(FewShot(k_total=4).choose("train", FREE, MANY)) == 4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, r"wanted k_shot \(of each class\) or k_shot_total \(in all\), given neither"),
        ({"k": 4, "k_total": 4}, "given both"),
        ({"k": 0}, "wanted k_shot of at least 1, given 0"),
        ({"k_total": -1}, "wanted k_shot_total of at least 1, given -1"),
        ({"k": 1, "draw": -1}, "wanted draw of at least 0, given -1"),
    ],
)
def test_settings_that_say_nothing_are_refused(fields, message):
    with pytest.raises(BadFewShot, match=message):
        FewShot(**fields)
