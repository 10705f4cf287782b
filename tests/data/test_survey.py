"""Numbers to read before training: lengths, proposals, and what stands on two sides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dept_vl.data.sources import Loaded
from dept_vl.data.survey import also_in_train, measure_lengths, same_pictures, source_lengths, target_lengths
from dept_vl.data.tokenizer import load_tokenizer
from dept_vl.tasks import Example


def asked(id, source, image=None, *targets):
    return Example(id, source, targets, (1.0,) * len(targets), targets, image=image)


def loaded(*examples, **paths):
    return Loaded(list(examples), {}, {name.replace("_", "."): path for name, path in paths.items()})


def test_percentiles_are_the_lengths_that_so_many_do_not_exceed():
    found = measure_lengths(range(1, 201), limit=150)
    assert found.shares == {50: 100, 90: 180, 95: 190, 99: 198} and found.longest == 200
    assert (found.texts, found.limit, found.over, found.proposal) == (200, 150, 50, 200)
    assert measure_lengths([3], limit=3).shares == dict.fromkeys((50, 90, 95, 99), 3)


def test_a_proposal_holds_all_or_all_but_a_far_longer_hundredth():
    assert measure_lengths([20] * 100 + [35], limit=8).proposal == 40
    assert measure_lengths([20] * 300 + [500], limit=8).proposal == 24
    assert measure_lengths([3, 4, 5], limit=8).proposal == 6
    with pytest.raises(ValueError, match="wanted at least one text"):
        measure_lengths([], limit=8)


@given(st.lists(st.integers(1, 400), min_size=1, max_size=60), st.integers(1, 400))
def test_what_is_over_the_proposal_is_at_most_a_hundredth(lengths, limit):
    found = measure_lengths(lengths, limit)
    assert found.over == sum(length > limit for length in lengths)
    assert sum(length > found.proposal for length in lengths) <= len(lengths) / 100


def test_lengths_are_those_that_training_reads(byte_t5):
    tokenizer = load_tokenizer(str(byte_t5))
    examples = [asked(1, "what color", None, "red"), asked(2, "x", None, "red", "blue"), asked(3, "what color", None)]
    found = source_lengths(tokenizer, examples, "seq2seq").tolist()
    assert found == [len(tokenizer(each.source)["input_ids"]) for each in examples]
    assert target_lengths(tokenizer, examples, "seq2seq") == {
        "red": (len(tokenizer("red")["input_ids"]), 2), "blue": (len(tokenizer("blue")["input_ids"]), 1),
    }  # fmt: skip


def test_examples_that_stand_in_train_too_are_counted_by_source_and_picture():
    splits = {
        "train": loaded(asked(1, "what?", "a.jpg"), asked(2, "what?", "b.jpg"), asked(3, "who?")),
        "eval": loaded(asked(4, "what?", "c.jpg"), asked(5, "why?", "a.jpg")),
        "test": loaded(asked(6, "what?", "a.jpg"), asked(7, "who?"), asked(8, "what?", "a.jpg")),
    }
    assert also_in_train(splits) == {"test": 3}
    assert also_in_train({"test": splits["test"]}) == {}
    assert also_in_train({"train": splits["train"], "eval": splits["train"]}) == {}  # the very split, on purpose


def test_one_picture_under_two_names_on_two_sides_is_found(tmp_path):
    for name, data in (("a", b"one"), ("b", b"two"), ("c", b"one"), ("d", b"other")):
        (tmp_path / f"{name}.jpg").write_bytes(data)
    paths = {name: tmp_path / f"{name}.jpg" for name in "abcd"}
    splits = {"train": loaded(a_jpg=paths["a"], b_jpg=paths["b"]), "test": loaded(c_jpg=paths["c"], d_jpg=paths["d"])}
    assert same_pictures(splits) == [("train: a.jpg", "test: c.jpg")]
    splits["val"] = loaded(b_jpg=paths["b"])
    assert ("train: b.jpg", "val: b.jpg") in same_pictures(splits)
    assert same_pictures({"train": splits["train"], "test": loaded(gone_jpg=tmp_path / "gone.jpg")}) == []
