"""A mixture is one training set: a batch is a function of the seed and its number, and each row is its own task's."""

import collections
import dataclasses
import pickle

import numpy as np
import pytest
import torch

from dept_vl.data.batches import TrainingBatches, evaluation_batches
from dept_vl.data.mixture import MixedExamples, shares
from tests.tiny_runs import PATCHES, WIDTH, ToyFeatures, encode, toy_examples

SIZES = {"short": 12, "long": 30, "tiny": 3}


@pytest.fixture
def members(byte_t5):
    """Three tasks of other sizes, ids and lengths; one whose targets differ from visit to visit."""
    found = {}
    for place, (name, number) in enumerate(SIZES.items()):
        examples = [
            dataclasses.replace(
                each, id=f"{name}-{row}", source=f"{name}: {each.source}" + " again" * place,
                targets=("yes", "no"), weights=(0.5, 0.5),
            )
            for row, each in enumerate(toy_examples(number))
        ]  # fmt: skip
        encoded = encode(byte_t5, examples, max_source_length=20 + 10 * place)[1]
        encoded.task = place
        found[name] = encoded
    return found


@pytest.fixture
def make(members):
    def make(*, by="size", temperature=10.0, limit=None, tasks_per_batch=None, gather=None, **arguments):
        mixed = MixedExamples(members, by, temperature=temperature, limit=limit, tasks_per_batch=tasks_per_batch)
        return TrainingBatches(mixed, gather, **{"batch_size": 6, "seed": 1, **arguments})

    return make


def epoch(batches, number=0):
    start = number * batches.batches_per_epoch
    return [batches[place] for place in range(start, start + batches.batches_per_epoch)]


def rows_of(batch):
    """(id, task, source tokens, target tokens) of every row, without pads."""
    sources = [ids[mask.bool()].tolist() for ids, mask in zip(batch.input_ids, batch.mask, strict=True)]
    targets = [labels[labels != -100].tolist() for labels in batch.labels]
    return list(zip(batch.ids, batch.tasks.tolist(), sources, targets, strict=True))


@pytest.mark.parametrize(
    ("law", "wanted"),
    [
        ({"by": "size"}, [0.8, 0.2]),
        ({"by": "size", "limit": 100}, [0.5, 0.5]),
        ({"by": "size", "limit": 300}, [0.75, 0.25]),
        ({"by": "temperature", "temperature": 2.0}, [2 / 3, 1 / 3]),
        ({"by": "temperature", "temperature": 1.0}, [0.8, 0.2]),
        ({"by": "temperature", "temperature": 10.0}, [4**0.1 / (4**0.1 + 1), 1 / (4**0.1 + 1)]),
        ({"by": "even"}, [0.5, 0.5]),
    ],
)
def test_a_tasks_share_follows_its_size_as_published(law, wanted):
    assert shares([400, 100], **law) == pytest.approx(wanted)


def test_by_size_an_epoch_is_every_example_of_every_task_once(make):
    batches = make(batch_size=5)
    seen = collections.Counter(name for batch in epoch(batches) for name in batch.ids)
    assert len(seen) == 45 and set(seen.values()) == {1}
    assert batches.encoded.per_epoch == [12, 30, 3]


@pytest.mark.parametrize(
    ("law", "wanted"),
    [
        ({"by": "even"}, [15, 15, 15]),
        ({"by": "size", "limit": 12}, [12, 12, 3]),
        ({"by": "temperature", "temperature": 2.0}, [15, 23, 7]),  # of 45: 14.56, 23.02, 7.28... rounded by remainder
    ],
)
def test_every_epoch_has_each_tasks_share_and_goes_on_where_the_last_one_ended(make, law, wanted):
    batches = make(**law, batch_size=sum(wanted))
    assert sum(wanted) == sum(batches.encoded.per_epoch)
    exact = np.array(batches.encoded.shares) * sum(wanted)
    assert np.abs(np.array(batches.encoded.per_epoch) - exact).max() < 1
    epochs = [collections.Counter(batches[number].tasks.tolist()) for number in range(4)]
    assert epochs == [dict(enumerate(batches.encoded.per_epoch))] * 4
    seen = collections.Counter(name for number in range(4) for name in batches[number].ids)
    for name, size in SIZES.items():  # pass by pass: no example twice more often than another
        counts = [seen[f"{name}-{row}"] for row in range(size)]
        assert max(counts) - min(counts) <= 1


def test_a_mixed_batch_is_a_function_of_the_seed_and_its_number(make):
    first, second, other = make(by="even"), make(by="even"), make(by="even", seed=2)
    backwards = {number: rows_of(second[number]) for number in (31, 7, 0, 12)}
    assert all(rows_of(first[number]) == rows for number, rows in backwards.items())
    assert any(rows_of(first[number]) != rows_of(other[number]) for number in range(3))
    again = pickle.loads(pickle.dumps(first))
    assert rows_of(again[9]) == rows_of(first[9])
    assert [rows_of(batch) for batch in epoch(first, 0)] != [rows_of(batch) for batch in epoch(first, 1)]


@pytest.mark.parametrize("world", [2, 3])
def test_the_processes_share_the_mixed_batch_of_one(make, world):
    whole = make(by="even")
    parts = [make(by="even", rank=rank, world=world) for rank in range(world)]
    for number in range(9):
        shares_of = [rows_of(part[number]) for part in parts]
        together = [row for rows in zip(*shares_of, strict=True) for row in rows]
        assert together == rows_of(whole[number])


def test_a_row_of_a_mixed_batch_is_what_its_own_task_makes_of_it(make, members):
    mixed = make().encoded
    rows = [44, 0, 20, 12, 43, 11, 41]
    batch = mixed.collate(rows, ToyFeatures(), np.full(7, 0.7))
    assert batch.ids == ("tiny-2", "short-0", "long-8", "long-0", "tiny-1", "short-11", "long-29")
    assert batch.tasks.tolist() == [2, 0, 1, 1, 2, 0, 1] and batch.features.shape == (7, PATCHES, WIDTH)
    assert not batch.input_ids[~batch.mask.bool()].any()
    starts = [0, 12, 42]
    for place, (row, (*_, source, target)) in enumerate(zip(rows, rows_of(batch), strict=True)):
        task = int(batch.tasks[place])
        alone = list(members.values())[task].collate([row - starts[task]], ToyFeatures(), np.array([0.7]))
        assert rows_of(alone)[0][2:] == (source, target) and alone.tasks.tolist() == [task]
        assert torch.equal(alone.features[0], batch.features[place])
    assert mixed.collate(rows, None).labels is None


def test_an_evaluation_batch_names_its_task_too(members):
    for place, encoded in enumerate(members.values()):
        batches = list(evaluation_batches(encoded, None, batch_size=8))
        assert all(batch.tasks.tolist() == [place] * len(batch.ids) for batch in batches)


def test_a_run_resumes_only_with_the_same_tasks_and_sampling(make, members):
    settings = [make(**law).settings for law in ({}, {"by": "even"}, {"limit": 10})]
    assert len({str(each) for each in settings}) == 3
    fewer = MixedExamples(dict(list(members.items())[:2]))
    assert TrainingBatches(fewer, None, batch_size=6, seed=1).settings["tasks"] == ["short", "long"]


def test_counts_are_summed_and_losses_name_their_task(make, members):
    mixed = make().encoded
    assert mixed.counts["sources_cut"] == sum(each.counts["sources_cut"] for each in members.values())
    assert set(mixed.losses) == {f"{name}: {what}" for name in SIZES for what in ("sources", "targets")}
    assert len(mixed) == len(mixed.examples) == len(mixed.source_lengths) == 45


def test_a_batch_of_one_task_is_of_one_task_as_often_as_it_is_drawn(make):
    batches = make(by="even", tasks_per_batch=(1, 1), batch_size=3)
    found = [set(batch.tasks.tolist()) for number in range(40) for batch in epoch(batches, number)]
    assert {len(each) for each in found} == {1}
    counts = collections.Counter(each.pop() for each in found)
    assert all(count / len(found) == pytest.approx(1 / 3, abs=0.07) for count in counts.values())  # 600 batches


def test_drawn_tasks_share_a_batch_equally_and_one_has_the_rest(make):
    batches = make(by="even", tasks_per_batch=(2, 3), batch_size=7)
    seen = collections.Counter()
    for batch in (each for number in range(30) for each in epoch(batches, number)):
        assert len(batch.ids) == 7
        seen[tuple(sorted(collections.Counter(batch.tasks.tolist()).values()))] += 1
    # of two drawn 3 + 4, or 7 where both are the same; of three 2 + 2 + 3, and 2 + 5, 3 + 4 or 7 where some are
    assert set(seen) == {(7,), (3, 4), (2, 5), (2, 2, 3)}
    one = seen[(7,)] / seen.total()
    assert one == pytest.approx((1 / 3 + 1 / 9) / 2, abs=0.09)


def test_drawn_by_size_a_small_task_comes_seldom_and_its_rows_come_in_turn(make):
    batches = make(tasks_per_batch=(1, 1), batch_size=3)
    rows = collections.Counter(name for number in range(60) for batch in epoch(batches, number) for name in batch.ids)
    share = {task: sum(count for name, count in rows.items() if name.startswith(task)) / rows.total() for task in SIZES}
    assert share == pytest.approx({"short": 12 / 45, "long": 30 / 45, "tiny": 3 / 45}, abs=0.05)  # 900 batches
    one = collections.Counter(name for batch in epoch(batches) for name in batch.ids if name.startswith("long"))
    assert max(one.values()) - min(one[f"long-{row}"] for row in range(30)) <= 1


def test_drawn_batches_are_a_function_of_the_seed_and_the_number_and_of_all_processes(make):
    settings = {"tasks_per_batch": (2, 3), "batch_size": 6}
    batches = make(**settings)
    here = [rows_of(batch) for number in (2, 0) for batch in epoch(batches, number)]
    again = [rows_of(batch) for number in (2, 0) for batch in epoch(make(**settings), number)]
    assert here == again and here != [
        rows_of(batch) for number in (2, 0) for batch in epoch(make(**settings, seed=2), number)
    ]
    halves = [make(**settings, rank=rank, world=2) for rank in (0, 1)]
    for number in range(batches.batches_per_epoch):
        assert sorted(rows_of(batches[number])) == sorted(rows_of(halves[0][number]) + rows_of(halves[1][number]))
    assert batches.settings["tasks_per_batch"] == [2, 3] and "tasks_per_batch" not in make().settings
