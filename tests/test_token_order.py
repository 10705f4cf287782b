"""The order of prompt, text and visual tokens: what each kind of backbone reads, and what the order must not change."""

import dataclasses

import pytest
import torch
from accelerate import Accelerator

from dept_vl.adapters import build_adapter
from dept_vl.backbones import TOKEN_ORDERS, CandidateTree, WrongOrder, load_backbone
from dept_vl.model import BankEntry, Batch, Network
from dept_vl.train.evaluate import Decoding, predict
from dept_vl.vision import VisualProjection
from tests.tiny_runs import (
    ADAPTERS,
    PATCHES,
    WIDTH,
    ToyFeatures,
    batch_of,
    encode,
    forget_accelerate,
    randomise,
    toy_examples,
    write_byte_causal,
)

CAUSAL = ("gpt2", "llama")
PROMPT = 3
READS = [(kind, order) for kind, orders in (("t5", "seq2seq"), *((each, "causal") for each in CAUSAL))
         for order in TOKEN_ORDERS[orders]]  # fmt: skip
CAUSAL_READS = [each for each in READS if each[0] != "t5"]
COVERS = ("text", "text_and_visual")
CANDIDATES = CandidateTree(
    [[5, 6, 1], [5, 7, 1], [8, 1], [9, 10, 1], [9, 11, 12, 1], *([token, 1] for token in range(20, 90))]
)
TIGHT = {"rtol": 1e-4, "atol": 1e-4}


def short(part: object) -> str:
    return part if isinstance(part, str) else "".join(name[0] for name in part)


reads = pytest.mark.parametrize(("kind", "order"), READS, ids=short)
causal_reads = pytest.mark.parametrize(("kind", "order"), CAUSAL_READS, ids=short)
each_order = pytest.mark.parametrize(("kind", "order"), [CAUSAL_READS[0], CAUSAL_READS[-1]], ids=short)


@pytest.fixture(scope="module")
def folders(byte_t5, tmp_path_factory):
    root = tmp_path_factory.mktemp("causal")
    return {"t5": byte_t5, **{kind: write_byte_causal(root / kind, kind) for kind in CAUSAL}}


@pytest.fixture
def make(folders):
    def make(kind, order=None, name="dept", *, covers="text", seed=0, **sizes):
        backbone = load_backbone(str(folders[kind]), kind="seq2seq" if kind == "t5" else "causal")
        generator = torch.Generator().manual_seed(seed)
        adapter = build_adapter(name, torch.randn(8, 16, generator=generator), ADAPTERS[name] | sizes, generator)
        parts = {"adapter": adapter, "projection": VisualProjection(WIDTH, 16, PATCHES, generator)}
        return randomise(Network(backbone, parts, covers=covers, order=order).eval())

    return make


def rows_of(batch: Batch, rows: list[int]) -> Batch:
    """These rows in this order."""
    names = ("input_ids", "mask", "labels", "features")
    images = None if batch.images is None else tuple(batch.images[row] for row in rows)
    return dataclasses.replace(batch, images=images, **{name: getattr(batch, name)[rows] for name in names})


def about(batch: Batch, images: str) -> Batch:
    """The rows about the images with these letters, which the batch names."""
    seen = [torch.randn(PATCHES, WIDTH, generator=torch.Generator().manual_seed(ord(each))) for each in images]
    return dataclasses.replace(batch, features=torch.stack(seen), images=tuple(images))


def read(network: Network, batch: Batch) -> list[torch.Tensor]:
    """Loss, words and choice of each row."""
    with torch.no_grad():
        return [network(batch), network.generate(batch, max_new_tokens=5), network.choose(batch, CANDIDATES)]


def check_same(given: list[torch.Tensor], wanted: list[torch.Tensor]) -> None:
    torch.testing.assert_close(given[0], wanted[0], **TIGHT)
    width = min(given[1].shape[1], wanted[1].shape[1])  # a batch ends when its last row does
    assert torch.equal(given[1][:, :width], wanted[1][:, :width]) and torch.equal(given[2], wanted[2])
    assert not given[1][:, width:].any() and not wanted[1][:, width:].any()


@reads
def test_the_columns_stand_in_the_order_that_the_network_says(make, kind, order):
    network, batch = make(kind, order, "pt"), batch_of([4, 2])
    with torch.no_grad():
        embeds, mask = network.embed(batch)
        text, visual = network.backbone.embed(batch.input_ids), network.projection(batch.features)
    for row, length in enumerate((4, 2)):
        pieces = {"prompt": network.adapter.prompt_embeddings, "text": text[row, :length], "visual": visual[row]}
        wanted = torch.cat([pieces[name] for name in order])
        assert torch.equal(embeds[row, : len(wanted)], wanted)
        assert mask[row].tolist() == [1] * len(wanted) + [0] * (4 - length)


def test_the_usual_order_is_the_published_one_of_t5_and_puts_the_image_before_the_text_of_a_decoder_alone(make):
    assert make("t5").order == ("prompt", "text", "visual")
    assert make("gpt2").order == make("llama").order == ("prompt", "visual", "text")


@pytest.mark.parametrize("kind", CAUSAL)
def test_a_text_in_front_of_the_image_is_refused_for_a_decoder_alone(make, kind):
    with pytest.raises(WrongOrder, match="wanted prompt,visual,text or .* a causal .*given prompt,text,visual: a d"):
        make(kind, ("prompt", "text", "visual"))
    with pytest.raises(WrongOrder, match="for a seq2seq backbone, given text,visual$"):
        make("t5", ("text", "visual"))


@pytest.mark.parametrize(("kind", "order"), [each for each in READS if each[0] != "gpt2"], ids=short)
@pytest.mark.parametrize("covers", COVERS)
def test_row_i_of_a_shift_is_added_to_the_ith_column_that_it_covers(make, kind, order, covers):
    shifted, plain = make(kind, order, max_length=64, covers=covers), make(kind, order, "pt", covers=covers)
    plain.projection.load_state_dict(shifted.projection.state_dict())
    with torch.no_grad():
        plain.adapter.prompt_embeddings.copy_(shifted.adapter.prompt_embeddings)
        batch = batch_of([4, 2])
        added = shifted.embed(batch)[0] - plain.embed(batch)[0]
        shift = shifted.adapter.fold().shift
    for row, length in enumerate((4, 2)):
        sizes, column, number = {"prompt": PROMPT, "text": length, "visual": PATCHES}, 0, 0
        for name in order:
            covered = name == "text" or (name == "visual" and covers == "text_and_visual")
            wanted = shift[number : number + sizes[name]] if covered else torch.zeros(sizes[name], 16)
            torch.testing.assert_close(added[row, column : column + sizes[name]], wanted, rtol=1e-4, atol=1e-4)
            column, number = column + sizes[name], number + sizes[name] * covered


@each_order
@pytest.mark.parametrize(("name", "covers"), [("dept", "text"), ("attempt", "text_and_visual")])
def test_padding_batch_mates_and_the_order_of_questions_change_nothing(make, kind, order, name, covers):
    network = make(kind, order, name, covers=covers)
    batch = about(batch_of([6, 2, 4, 1], targets=[3, 1, 2, 2]), "abab")
    wanted = read(network, batch)
    for columns in ([6, 6], [0, 0], [1, 3]):  # on the right, on the left, inside
        ids, mask = batch.input_ids, batch.mask
        for column in columns:
            ids, mask = (torch.cat([each[:, :column], 0 * each[:, :1], each[:, column:]], 1) for each in (ids, mask))
        check_same(read(network, dataclasses.replace(batch, input_ids=ids, mask=mask)), wanted)
    check_same(read(network, rows_of(batch, [2, 3, 0, 1])), [each[[2, 3, 0, 1]] for each in wanted])
    for row in range(4):
        check_same(read(network, rows_of(batch, [row])), [each[[row]] for each in wanted])


@each_order
def test_an_answer_depends_on_image_question_and_prompt_and_on_their_order(make, kind, order):
    network, batch = make(kind, order), batch_of([5, 5, 5], targets=[2, 2, 2])
    loss = network(batch)
    other = {
        "image": network(dataclasses.replace(batch, features=batch.features.flip(0))),
        "question": network(dataclasses.replace(batch, input_ids=batch.input_ids.flip(0))),
        "prompt": make(kind, order, seed=3)(batch),
        "order": make(kind, CAUSAL_READS[1 - [each for _, each in CAUSAL_READS[:2]].index(order)][1])(batch),
    }
    for changed in other.values():
        assert (changed - loss).abs().max() > 1e-2


@causal_reads
def test_each_image_is_computed_once_for_its_questions_and_no_answer_changes(make, kind, order):
    network, said = make(kind, order), set()
    cache = network.backbone.image_cache
    for images in ("aab", "bb", "bcd", "d"):
        batch = about(batch_of([6, 2, 4][: len(images)]), images)
        plain = dataclasses.replace(batch, images=None)
        for each in (network.generate, lambda batch, **_: network.choose(batch, CANDIDATES)):
            sizes = {"max_new_tokens": 5, "num_beams": 2}
            answers = each(batch, **sizes)
            assert torch.equal(answers, each(plain, **sizes))
        embeds, mask = network.embed(batch)
        prefix = torch.tensor([[4, 8]])
        with torch.no_grad():
            ask = network.backbone.next_token_logits
            kept, wanted = (ask(embeds, mask, prefix, **network._shared(one)) for one in (batch, plain))
        assert (kept - wanted).abs().max() <= 1e-5 * wanted.abs().max()
        said |= set(map(tuple, network.generate(batch, max_new_tokens=5).tolist()))
    assert cache.computed == 4 and len(said) > 4
    assert network.backbone.prompt_cache.computed == (1 if order[0] == "prompt" else 0)


@each_order
def test_a_prompt_that_reads_the_text_shares_what_stands_in_front_of_it(make, kind, order):
    network, batch = make(kind, order, "attempt"), about(batch_of([6, 2, 4]), "aab")
    assert network.shares_images == (order[0] == "visual")
    network.generate(batch, max_new_tokens=3)
    assert network.backbone.image_cache.computed == (2 if order[0] == "visual" else 0)
    both = make(kind, order, "attempt", covers="text_and_visual")  # the shift of a visual token depends on the text too
    both.generate(batch, max_new_tokens=3)
    assert not both.shares_images and both.backbone.image_cache.computed == 0


@each_order
def test_what_is_kept_of_an_image_follows_the_weights_and_the_blind(make, kind, order):
    network, batch = make(kind, order), about(batch_of([6, 2, 4]), "aab")
    plain, cache = dataclasses.replace(batch, images=None), network.backbone.image_cache
    seeing = network.generate(batch, max_new_tokens=5)
    blind = network.generate(batch, max_new_tokens=5, blind=True)
    assert torch.equal(blind, network.generate(plain, max_new_tokens=5, blind=True)) and cache.computed == 4
    assert torch.equal(seeing, network.generate(batch, max_new_tokens=5)) and cache.computed == 6
    sgd = torch.optim.SGD([weight for group in network.param_groups().values() for weight in group], lr=3.0)
    network(batch).mean().backward()  # without train() and eval(), which drop what is kept
    sgd.step()
    moved = network.generate(batch, max_new_tokens=5)
    assert torch.equal(moved, network.generate(plain, max_new_tokens=5)) and not torch.equal(moved, seeing)


@pytest.mark.parametrize("kind", CAUSAL)
def test_a_batch_may_mix_adapters_of_several_orders(make, kind):
    network, other = make(kind, seed=4), make(kind, ("visual", "prompt", "text"), "pt", seed=5)
    network.bank["first"] = BankEntry(network.adapter.fold(), network.projection)
    network.bank["llava"] = BankEntry(other.adapter.fold(), other.projection, other.order)
    batch = about(batch_of([6, 2, 4, 3], targets=[2, 3, 1, 2]), "aabb")
    names = ("first", "llava", "llava", "first")
    mixed = read(network, dataclasses.replace(batch, adapters=names))
    for each, own in ((network, [0, 3]), (other, [1, 2])):
        check_same([one[own] for one in mixed], read(each, rows_of(batch, own)))
    alone = dataclasses.replace(rows_of(batch, [1, 2]), adapters=("llava", "llava"))
    check_same(read(network, alone), read(other, rows_of(batch, [1, 2])))
    assert network.backbone.image_cache.computed == 4  # two under each adapter, none where they mix


@pytest.mark.usefixtures("afresh")
@each_order
def test_evaluation_asks_image_by_image_and_answers_as_row_by_row(make, folders, kind, order, monkeypatch):
    network = make(kind, order)
    rows = toy_examples(9)
    examples = [dataclasses.replace(each, image=rows[place % 4].image) for place, each in enumerate(rows)]
    tokenizer, encoded = encode(folders[kind], examples)
    given = (Accelerator(cpu=True), network, tokenizer, encoded, ToyFeatures(), Decoding(6))
    answers = predict(*given, batch_size=2)
    assert network.backbone.image_cache.computed == 4  # each image once, whatever batches its rows are in
    assert predict(*given, batch_size=5) == answers and sorted(answers) == list(range(100, 109))
    monkeypatch.setattr(Network, "shares_images", False)
    computed = network.backbone.image_cache.computed
    assert predict(*given, batch_size=3) == answers and network.backbone.image_cache.computed == computed
    assert len(set(answers.values())) > 3
    forget_accelerate()


@each_order
def test_a_choice_among_many_candidates_takes_its_rows_in_parts_and_each_image_once(make, kind, order, monkeypatch):
    network, batch = make(kind, order), about(batch_of([6, 2, 4, 3, 5]), "aabba")
    wanted = network.choose(dataclasses.replace(batch, images=None), CANDIDATES)
    paths, length = CANDIDATES.prefixes.shape
    monkeypatch.setattr("dept_vl.backbones.candidates.MAX_LOGITS", 2 * paths * (length + 1) * 300)  # two rows at once
    assert torch.equal(network.choose(batch, CANDIDATES), wanted) and network.backbone.image_cache.computed == 3
    sorted_ = rows_of(batch, [0, 1, 4, 2, 3])
    assert torch.equal(network.choose(sorted_, CANDIDATES), wanted[[0, 1, 4, 2, 3]])
