import collections
import dataclasses
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from dept_vl.data.batches import FILLER, EncodedExamples, TooFewExamples, TrainingBatches, evaluation_batches
from dept_vl.data.text import TooLongTarget, encode_targets
from dept_vl.data.tokenizer import MissingPadToken, load_tokenizer
from tests.data.tiny_tokenizers import write_llama
from tests.tiny_runs import PATCHES, WIDTH, ToyFeatures, encode, toy_examples


@pytest.fixture
def make(byte_t5):
    """Batches over `number` toy examples; `changes` are fields of the examples, in order."""

    def make(number=10, *, changes=(), gather=None, lengths=None, **arguments):
        examples = toy_examples(number)
        for place, fields in enumerate(changes):
            examples[place] = dataclasses.replace(examples[place], **fields)
        encoded = encode(byte_t5, examples, **(lengths or {}))[1]
        return TrainingBatches(encoded, gather, **{"batch_size": 4, "seed": 1, **arguments})

    return make


def same(first, second):
    return (
        first.ids == second.ids
        and torch.equal(first.input_ids, second.input_ids)
        and torch.equal(first.mask, second.mask)
        and torch.equal(first.labels, second.labels)
    )


def epoch(batches, number=0):
    start = number * batches.batches_per_epoch
    return [batches[place] for place in range(start, start + batches.batches_per_epoch)]


def texts(batch):
    """(id, source tokens, target tokens) of every row, without pads."""
    sources = [ids[mask.bool()].tolist() for ids, mask in zip(batch.input_ids, batch.mask, strict=True)]
    targets = [labels[labels != -100].tolist() for labels in batch.labels]
    return list(zip(batch.ids, sources, targets, strict=True))


MANY = {"targets": ("red", "blue", "green"), "weights": (0.5, 0.3, 0.2)}


def test_a_batch_is_a_function_of_the_seed_and_its_number(make):
    changes = [MANY] * 10
    first, second, other = make(changes=changes), make(changes=changes), make(changes=changes, seed=2)
    backwards = {number: second[number] for number in (7, 3, 0, 5)}
    assert all(same(first[number], batch) for number, batch in backwards.items())
    assert not all(same(first[number], other[number]) for number in range(3))
    assert not same(first[0], first[first.batches_per_epoch])


def test_workers_make_the_same_batches(make):
    batches = make(gather=ToyFeatures())
    loaded = list(DataLoader(batches, batch_size=None, sampler=range(3, 6), num_workers=1))
    assert all(same(batches[3 + place], batch) for place, batch in enumerate(loaded))
    assert torch.equal(loaded[0].features, batches[3].features)


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_share_the_batch_of_one_process(make, world):
    changes = [MANY] * 16
    whole = make(16, changes=changes, batch_size=8)
    parts = [make(16, changes=changes, batch_size=8, rank=rank, world=world) for rank in range(world)]
    for number in range(3):
        shares = [texts(part[number]) for part in parts]
        assert {len(share) for share in shares} == {8 // world}
        together = [row for rows in zip(*shares, strict=True) for row in rows]
        assert together == texts(whole[number])


@pytest.mark.parametrize(("number", "batch_size"), [(12, 4), (10, 4), (3, 8), (1, 1)])
def test_an_epoch_makes_every_visit_once_and_fills_only_its_last_batch(make, number, batch_size):
    batches = make(number, batch_size=batch_size)
    seen = collections.Counter(id for batch in epoch(batches) for id in batch.ids)
    assert len(seen) == number and min(seen.values()) >= 1
    assert seen.total() == batches.batches_per_epoch * batch_size
    extra = sum(count - 1 for count in seen.values())
    assert extra == -number % batch_size
    assert max(seen.values()) <= -(-batch_size // number) + 1


def test_visits_count_per_epoch_and_epochs_differ_in_order(make):
    batches = make(4, changes=[{"visits": 5}, {"visits": 1}, {"visits": 2}], batch_size=3)
    wanted = {100: 5, 101: 1, 102: 2, 103: 1}
    for number in range(3):
        assert collections.Counter(id for batch in epoch(batches, number) for id in batch.ids) == wanted
    assert [batch.ids for batch in epoch(batches, 0)] != [batch.ids for batch in epoch(batches, 1)]


def test_targets_are_drawn_in_proportion_to_their_weights(make, byte_t5):
    tokenizer, _ = encode(byte_t5, toy_examples(1))
    batches = make(1, changes=[MANY], batch_size=100)
    drawn = collections.Counter(
        tokenizer.decode(labels[labels != -100], skip_special_tokens=True).strip()
        for number in range(20)
        for labels in batches[number].labels
    )
    wanted = {"red": 1000, "blue": 600, "green": 400}
    chi_square = sum((drawn[word] - count) ** 2 / count for word, count in wanted.items())
    assert drawn.total() == 2000 and set(drawn) == set(wanted)
    assert chi_square < 18.4  # 2 degrees of freedom: 1 draw in 10,000 is above


def test_weights_that_round_to_less_than_one_still_draw_a_target(make):
    batches = make(1, changes=[{"targets": ("red", "blue"), "weights": (0.3, 0.3)}], batch_size=50)
    assert (batches[0].labels[:, 0] != -100).all()


def test_a_larger_length_step_pads_more_and_mixes_more(make):
    words = ["red"] * 40
    draw = np.random.default_rng(0)
    changes = [{"source": " ".join(words[: draw.integers(1, 40)])} for _ in range(400)]

    def measure(**arguments):
        batches = make(400, changes=changes, lengths={"max_source_length": 300}, **arguments)
        masks = [batch.mask for batch in epoch(batches)]
        pads = 1 - sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)
        return pads, np.mean([len(set(mask.sum(1).tolist())) for mask in masks])

    (usual, few), (coarse, several), (exact, fewest) = measure(), measure(length_step=32), measure(length_step=1)
    assert exact <= usual < 0.02 < coarse
    assert fewest <= few < several
    assert make(400).settings != make(400, length_step=32).settings


def test_buckets_pad_little(make):
    words = "what color is the small red circle above the big blue square on the right".split()
    draw = np.random.default_rng(0)
    changes = [{"source": " ".join(words[: draw.integers(1, 15)])} for _ in range(320)]
    batches = make(320, changes=changes, batch_size=8, lengths={"max_source_length": 100})
    masks = [batch.mask for batch in epoch(batches)]
    bucketed = 1 - sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)
    lengths = batches.encoded.source_lengths[draw.permutation(320)].reshape(40, 8)
    shuffled = 1 - lengths.sum() / (8 * lengths.max(1)).sum()
    assert bucketed < 0.2 < 0.4 < shuffled
    spreads = [mask.shape[1] - int(mask.sum(1).min()) for mask in masks]
    assert sorted(spreads)[len(masks) * 3 // 4] < 8  # most batches lie within 8 tokens
    widths = [mask.shape[1] for mask in masks]
    assert widths != sorted(widths)  # the batches themselves come in any order


def test_lengths_within_eight_tokens_are_mixed(make):
    """Exact sorting would give batches of one wording each."""
    changes = [{"source": " ".join(["what"] * (1 + place % 6))} for place in range(48)]
    batches = make(48, changes=changes, batch_size=8, length_step=8)
    assert all(len({len(tokens) for _, tokens, _ in texts(batch)}) > 1 for batch in epoch(batches))


def test_cut_texts_keep_their_end_and_are_counted_once_each(make):
    changes = [{"targets": ("a small blue star",)}, {"targets": ("a small blue star",)}]
    encoded = make(10, changes=changes, lengths={"max_source_length": 3, "max_target_length": 4}).encoded
    batch = encoded.collate([4, 0], None, np.zeros(2))
    assert batch.input_ids.shape == (2, 3) and batch.input_ids[0, -1] == 1
    assert batch.labels.shape == (2, 4) and batch.labels[1, -1] == 1
    sources = len({example.source for example in toy_examples(10)})
    assert 0 < encoded.counts["sources_cut"] < sources and encoded.counts["targets_cut"] >= 1


def test_contexts_are_cut_first_and_counted(make, byte_t5):
    """The question behind the context stays whole as long as the context has tokens to give."""
    asked, told = " what color is it", "the small red circle above the big blue square"
    changes = [{"source": told + asked, "context": context} for context in ((0, len(told)), (0, 3), None)]
    changes += changes[:1]
    encoded = make(4, changes=changes, lengths={"max_source_length": 20}).encoded
    tokenizer, _ = encode(byte_t5, toy_examples(1))
    ids = encoded.collate(range(4), None).input_ids
    rows = [tokenizer.decode(row, skip_special_tokens=True) for row in ids]
    assert rows[0].strip().startswith("the") and rows[0].endswith(asked) and rows[0] == rows[3]
    assert not rows[1].endswith(asked) and rows[2].strip().startswith("the small")
    assert len(encoded.sources) == 3  # of equal text, not of equal context
    cut = {"sources_cut": 3, "contexts_cut": 1, "beyond_context_cut": 1, "targets_cut": 0}
    assert {name: number for name, number in encoded.counts.items() if name in cut} == cut


@pytest.fixture
def llama(tmp_path):
    return load_tokenizer(str(write_llama(tmp_path / "llama")), pad_token="</s>")


def test_a_causal_batch_ends_in_the_cue_and_its_labels_in_the_end_token(llama):
    encoded = EncodedExamples(toy_examples(6), llama, kind="causal", max_source_length=60, max_target_length=8)
    batch = encoded.collate([0, 4, 2], None, np.zeros(3))
    lengths = batch.mask.sum(1).tolist()
    assert len(set(lengths)) == 3  # so that some are padded
    for row, length in enumerate(lengths):
        assert batch.mask[row].tolist() == [1] * length + [0] * (batch.mask.shape[1] - length)
        assert (batch.input_ids[row, length:] == llama.eos_token_id).all()
    for ids, mask, labels, example in zip(
        batch.input_ids, batch.mask, batch.labels, [toy_examples(6)[place] for place in (0, 4, 2)], strict=True
    ):
        assert ids[mask.bool()].tolist() == llama(f"{example.source} Label :")["input_ids"]
        assert labels[labels != -100].tolist() == encode_targets(llama, example.targets, "causal")[0]


def test_a_label_never_changes_with_the_room_for_its_source(llama):
    examples, counts = toy_examples(5), []
    for max_source_length in (9, 12, 20, 60):
        encoded = EncodedExamples(
            examples, llama, kind="causal", max_source_length=max_source_length, max_target_length=8
        )
        labels = encoded.collate(range(5), None, np.zeros(5)).labels
        texts = [llama.decode(row[row != -100], skip_special_tokens=True).strip() for row in labels]
        assert texts == [example.targets[0] for example in examples]
        counts.append(encoded.counts["sources_cut"])
    assert counts[0] > counts[-1] == 0
    with pytest.raises(TooLongTarget, match="target 'blue': wanted at most max_target_length=4 tokens"):
        EncodedExamples(examples, llama, kind="causal", max_source_length=60, max_target_length=4)


def test_examples_need_a_padding_token(llama):
    llama.pad_token = None
    with pytest.raises(MissingPadToken, match="set backbone.pad_token .* such as its end-of-sequence token '</s>'"):
        EncodedExamples(toy_examples(1), llama, kind="causal", max_source_length=60, max_target_length=8)


def test_a_collated_row_is_its_example(make, byte_t5):
    batches, (tokenizer, _) = make(10), encode(byte_t5, toy_examples(1))
    batch = batches.encoded.collate([3, 1], ToyFeatures(), np.array([0.0, 0.999999]))
    examples = toy_examples(10)
    assert batch.ids == (103, 101) and batch.features.shape == (2, PATCHES, WIDTH)
    for row, place in enumerate((3, 1)):
        source = batch.input_ids[row][batch.mask[row].bool()]
        assert tokenizer.decode(source, skip_special_tokens=True).strip() == examples[place].source
        target = batch.labels[row][batch.labels[row] != -100]
        assert tokenizer.decode(target, skip_special_tokens=True).strip() == examples[place].targets[0]
        assert torch.equal(batch.features[row : row + 1], ToyFeatures()([examples[place].image]))
    assert not batch.input_ids[~batch.mask.bool()].any()


@pytest.mark.parametrize(("world", "batch_size"), [(1, 3), (2, 2), (3, 4), (4, 8)])
def test_evaluation_visits_every_example_exactly_once(make, world, batch_size):
    encoded = make(7).encoded
    shares = [
        list(evaluation_batches(encoded, None, batch_size=batch_size, rank=rank, world=world)) for rank in range(world)
    ]
    batches = [batch for share in shares for batch in share]
    assert sorted(id for batch in batches for id in batch.ids if id is not FILLER) == list(range(100, 107))
    sizes = [[len(batch.input_ids) for batch in share] for share in shares]
    assert sizes == sizes[:1] * world  # those who gather a model's parts together have to read it equally often
    assert all(batch.labels is None and len(batch.ids) <= batch_size for batch in batches)
    lengths = [mask.shape[1] for mask in (batch.mask for batch in batches)]
    assert world > 1 or lengths == sorted(lengths, reverse=True)


def test_pickled_batches_are_the_same(make):
    batches = make(gather=ToyFeatures(), changes=[MANY] * 10)
    wanted = batches[4]
    again = pickle.loads(pickle.dumps(batches))
    assert same(again[4], wanted) and torch.equal(again[4].features, wanted.features)


def test_impossible_batches_are_refused(make, byte_t5):
    with pytest.raises(TooFewExamples, match="at least one training example, given none"):
        make(0)
    with pytest.raises(ValueError, match="divides among 3 processes, given 4 rows"):
        make(world=3)


@pytest.mark.parametrize("world", [1, 2])
def test_evaluation_by_image_keeps_rows_about_one_image_together(byte_t5, world):
    rows = toy_examples(10)
    examples = [dataclasses.replace(each, image=rows[place % 4].image) for place, each in enumerate(rows)]
    encoded = encode(byte_t5, examples)[1]
    shares = [
        list(evaluation_batches(encoded, None, batch_size=3, rank=rank, world=world, by_image=True))
        for rank in range(world)
    ]
    pairs = [[pair for each in share for pair in zip(each.ids, each.images, strict=True)] for share in shares]
    assert sorted(id for share in pairs for id, _ in share) == list(range(100, 110))
    image_of = {each.id: each.image for each in examples}
    for share in pairs:
        assert all(image_of[id] == image for id, image in share)
        changes = zip(share[1:], share, strict=False)
        runs = [share[0][1], *(image for (_, image), (_, before) in changes if image != before)]
        assert len(runs) == len(set(runs))
    seen = [{image for _, image in share} for share in pairs]
    assert world == 1 or len(seen[0] & seen[1]) <= 1  # only where the shares meet
    assert max(len(batch.mask[0]) for batch in shares[0]) == len(shares[0][0].mask[0])  # the longest row comes first
    alone = list(evaluation_batches(encode(byte_t5, rows)[1], None, batch_size=3, by_image=True))
    assert [batch.images for batch in alone] == [None] * 4  # no two rows are about one image
