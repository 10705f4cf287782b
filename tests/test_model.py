import dataclasses

import pytest
import torch
from transformers.trainer_pt_utils import LabelSmoother

from dept_vl.adapters import build_adapter
from dept_vl.backbones import CandidateTree, load_backbone, mean_nats, pads_last
from dept_vl.model import BankEntry, Batch, MismatchedParts, Network
from dept_vl.run.measure import kept_bytes
from dept_vl.vision import VisualProjection
from tests.tiny_models import write_tiny_gpt2, write_tiny_llama
from tests.tiny_runs import ADAPTERS, PATCHES, WIDTH, batch_of, build_network, randomise

TIGHT = {"rtol": 1e-5, "atol": 2e-5}


@pytest.fixture
def make(byte_t5):
    def make(name="dept", *, random=True, **arguments):
        network = build_network(byte_t5, name, **arguments).eval()
        return randomise(network) if random else network

    return make


def with_pads(batch: Batch, columns: list[int]) -> Batch:
    """Pads put in front of those columns of the batch; a column may be named twice."""
    ids, mask = batch.input_ids, batch.mask
    for column in sorted(columns, reverse=True):
        pad = torch.zeros(len(ids), 1, dtype=torch.int64)
        ids, mask = (torch.cat([each[:, :column], pad, each[:, column:]], dim=1) for each in (ids, mask))
    return Batch(ids, mask, batch.labels, batch.features, batch.ids)


def plain_logits(network: Network, batch: Batch) -> torch.Tensor:
    model = network.backbone.model
    return model(input_ids=batch.input_ids, attention_mask=batch.mask, labels=batch.labels).logits


@pytest.mark.parametrize(("name", "sizes"), [("none", {}), ("dept", {"num_virtual_tokens": 0})])
def test_an_empty_prompt_without_a_projection_is_plain_t5(make, name, sizes):
    network, batch = make(name, random=False, projection=False, **sizes), batch_of([5, 3, 1], features=False)
    torch.testing.assert_close(
        network.backbone.logits(*network.embed(batch), batch.labels), plain_logits(network, batch)
    )


def test_a_prompt_changes_the_logits(make):
    network, batch = make("pt", projection=False), batch_of([5, 3], features=False)
    logits = network.backbone.logits(*network.embed(batch), batch.labels)
    assert not torch.allclose(logits, plain_logits(network, batch), atol=1e-2)


def test_dept_starts_as_prompt_tuning(make):
    dept, pt = make("dept", random=False), make("pt", random=False)
    pt.projection.load_state_dict(dept.projection.state_dict())
    batch = batch_of([5, 3, 8])
    assert torch.equal(dept.adapter.prompt_embeddings, pt.adapter.prompt_embeddings)
    assert torch.equal(dept(batch), pt(batch))


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_padding_changes_no_loss_and_no_answer(make, name):
    network, batch = make(name), batch_of([6, 2, 4], targets=[3, 1, 2])
    loss, answers = network(batch), network.generate(batch, max_new_tokens=5)
    for columns in ([6, 6, 6], [0, 0], [1], [3, 3], [0, 2, 5, 6]):
        padded = with_pads(batch, columns)
        torch.testing.assert_close(network(padded), loss, **TIGHT)
        assert torch.equal(network.generate(padded, max_new_tokens=5), answers)


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_a_row_alone_is_a_row_among_many(make, name):
    network, batch = make(name), batch_of([6, 2, 4], targets=[3, 1, 2])
    together, answers = network(batch), network.generate(batch, max_new_tokens=5)
    for row, (length, target) in enumerate([(6, 3), (2, 1), (4, 2)]):
        one = slice(row, row + 1)
        alone = Batch(
            batch.input_ids[one, :length], batch.mask[one, :length], batch.labels[one, :target], batch.features[one]
        )
        torch.testing.assert_close(network(alone), together[one], **TIGHT)
        generated = network.generate(alone, max_new_tokens=5)
        assert torch.equal(generated, answers[one, : generated.shape[1]])
        assert not answers[one, generated.shape[1] :].any()


def test_the_order_is_prompt_text_visual_and_the_pads_behind(make):
    network, batch = make("pt"), batch_of([4, 2])
    embeds, mask = network.embed(batch)
    text, visual = network.backbone.embed(batch.input_ids), network.projection(batch.features)
    prompt = network.adapter.prompt_embeddings
    for row, length in enumerate((4, 2)):
        wanted = torch.cat([prompt, text[row, :length], visual[row]])
        assert torch.equal(embeds[row, : len(wanted)], wanted)
        assert mask[row].tolist() == [1] * len(wanted) + [0] * (4 - length)


def test_the_shift_touches_no_visual_token(make):
    network, batch = make("dept", max_length=64), batch_of([4, 4])
    unshifted = build_pt_like(network, make("pt"))
    shifted, plain = network.embed(batch)[0], unshifted.embed(batch)[0]
    changed = (shifted != plain).any(-1)  # [batch, out]: prompt, text, visual
    assert changed[0].tolist() == [False] * 3 + [True] * 4 + [False] * PATCHES


def build_pt_like(dept: Network, pt: Network) -> Network:
    """The same prompt and projection without a shift."""
    pt.projection.load_state_dict(dept.projection.state_dict())
    with torch.no_grad():
        pt.adapter.prompt_embeddings.copy_(dept.adapter.prompt_embeddings)
    return pt


def test_visual_tokens_count_nothing_towards_the_shifts_length(make):
    short, long = make("dept", max_length=4), make("dept", max_length=9)
    with torch.no_grad():
        long.adapter.lora_embedding_A[:4] = short.adapter.lora_embedding_A
        long.adapter.lora_embedding_B.copy_(short.adapter.lora_embedding_B)
        long.adapter.prompt_embeddings.copy_(short.adapter.prompt_embeddings)
    long.projection.load_state_dict(short.projection.state_dict())
    torch.testing.assert_close(short(batch_of([4, 2])), long(batch_of([4, 2])), **TIGHT)
    assert not torch.allclose(short(batch_of([5, 2])), long(batch_of([5, 2])), rtol=1e-3)


def test_blind_zeroes_the_visual_tokens_where_they_stood(make):
    network, batch = make("pt"), batch_of([4, 2])
    seeing, mask = network.embed(batch)
    blind, blind_mask = network.embed(batch, blind=True)
    assert torch.equal(mask, blind_mask)
    for row, length in enumerate((4, 2)):
        start = 3 + length
        assert torch.equal(blind[row, :start], seeing[row, :start])
        assert seeing[row, start : start + PATCHES].abs().sum() > 0
        assert not blind[row, start : start + PATCHES].any()


def test_blind_answers_do_not_depend_on_the_picture(make):
    network, batch = make("pt"), batch_of([4, 4])
    other = Batch(batch.input_ids, batch.mask, batch.labels, batch.features + 3)
    assert torch.equal(
        network.generate(batch, max_new_tokens=4, blind=True), network.generate(other, max_new_tokens=4, blind=True)
    )
    assert not torch.equal(network.embed(batch)[0], network.embed(other)[0])


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_folded_is_unfolded_at_the_model(make, name):
    network, batch = make(name, projection=False), batch_of([6, 2, 4], features=False)
    if network.adapter.reads_text:
        pytest.skip("its pair depends on the text: there is nothing to fold")
    embeds, mask = network.adapter.fold()(network.backbone.embed(batch.input_ids), batch.mask)
    folded = network.backbone.logits(*pads_last(embeds, mask), batch.labels)
    torch.testing.assert_close(
        folded, network.backbone.logits(*network.embed(batch), batch.labels), rtol=1e-4, atol=1e-4
    )


def test_backbone_dropout_acts_only_when_asked(make):
    batch = batch_of([4, 2])
    still, shaken = make(dropout=False).train(), make(dropout=True).train()
    assert torch.equal(still(batch), still(batch))
    assert not torch.equal(shaken(batch), shaken(batch))
    shaken.eval()
    assert torch.equal(shaken(batch), shaken(batch)) and not shaken.backbone.training


def test_training_losses_are_smoothed_as_transformers_smooths_them(make):
    network = make()
    network.label_smoothing = 0.1
    batch = batch_of([5, 3], targets=[3, 1])
    logits = network.backbone.logits(*network.embed(batch), batch.labels)
    for row, found in enumerate(network.train()(batch)):  # by row: transformers averages over all tokens of a batch
        own = slice(row, row + 1)
        torch.testing.assert_close(found, LabelSmoother(epsilon=0.1)({"logits": logits[own]}, batch.labels[own]))
    torch.testing.assert_close(network.eval()(batch), mean_nats(logits, batch.labels))


@pytest.mark.parametrize("name", sorted(ADAPTERS))
@pytest.mark.parametrize("projection", [True, False])
def test_groups_hold_every_trained_weight_once_and_no_frozen_one(make, name, projection):
    network = make(name, random=False, projection=projection)
    grouped = [id(weight) for group in network.param_groups().values() for weight in group]
    trained = [id(weight) for weight in network.parameters() if weight.requires_grad]
    assert sorted(grouped) == sorted(trained) and len(set(grouped)) == len(grouped)
    assert not set(grouped) & {id(weight) for weight in network.backbone.parameters()}
    assert ("projection" in network.param_groups()) == projection and all(network.param_groups().values())


def test_a_step_moves_every_group_and_nothing_frozen(make):
    network, before = make(), make().backbone.model.state_dict()
    network(batch_of([4, 2])).mean().backward()
    assert all(weight.grad is not None for group in network.param_groups().values() for weight in group)
    assert all(weight.grad is None for weight in network.backbone.parameters())
    after = network.backbone.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_trained_state_goes_into_another_network(make):
    first, second = make(), make(random=False, seed=5)
    assert not torch.equal(first(batch_of([4])), second(batch_of([4])))
    second.load_trained_state({name: value.clone() for name, value in first.trained_state().items()})
    assert torch.equal(first(batch_of([4])), second(batch_of([4])))
    assert {"adapter.prompt_embeddings", "projection.positions"} < set(first.trained_state())


def test_a_state_that_does_not_fit_names_all_that_is_wrong_and_changes_nothing(make):
    network = make()
    state = {name: value.clone() + 1 for name, value in network.trained_state().items()}
    before = {name: value.clone() for name, value in network.trained_state().items()}
    state["adapter.lora_A"] = state.pop("adapter.lora_embedding_A")
    state["adapter.prompt_embeddings"] = torch.zeros(2, 16)
    message = r"no adapter.lora_embedding_A; unknown adapter.lora_A; adapter.prompt_embeddings: wanted \[3, 16\], given"
    with pytest.raises(MismatchedParts, match=message):
        network.load_trained_state(state)
    assert all(torch.equal(before[name], value) for name, value in network.trained_state().items())


def test_other_widths_are_refused(make, byte_t5):
    parts = make()
    with pytest.raises(MismatchedParts, match="projection: wanted width 16 .*, given 8"):
        Network(parts.backbone, {"adapter": parts.adapter, "projection": VisualProjection(WIDTH, 8, PATCHES)})
    narrow = make("pt")
    narrow.adapter.token_dim = 8
    with pytest.raises(MismatchedParts, match="adapter: wanted width 16 .*, given 8"):
        Network(parts.backbone, {"adapter": narrow.adapter})


def test_a_batch_that_the_network_cannot_use_is_refused(make):
    batch = batch_of([4])
    with pytest.raises(MismatchedParts, match="no projection"):
        make(projection=False)(batch)
    with pytest.raises(MismatchedParts, match="wanted a batch with labels"):
        make()(Batch(batch.input_ids, batch.mask, None, batch.features))


def test_the_covered_length_is_the_longest_text_and_counts_no_pads(make):
    network = make()
    assert network.covered_length(with_pads(batch_of([3, 5]), [0, 0])) == 5
    network.observe(5)
    network.observe(4)
    assert network.state() == {"adapter": {"trained_length": 5}, "projection": {}}


def test_pads_last_keeps_the_order_of_real_tokens():
    embeds = torch.arange(10.0).reshape(2, 5, 1)
    moved, mask = pads_last(embeds, torch.tensor([[0, 1, 0, 1, 1], [1, 1, 1, 1, 1]]))
    assert moved[..., 0].tolist() == [[1, 3, 4, 0, 2], [5, 6, 7, 8, 9]]
    assert mask.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]


def test_pads_last_moves_numbers_and_gradients_as_gather_does():
    generator = torch.Generator().manual_seed(0)
    mask = (torch.rand(5, 7, generator=generator) < 0.6).long()
    embeds = torch.randn(5, 7, 3, generator=generator, requires_grad=True)
    order = (mask == 0).to(torch.uint8).argsort(dim=1, stable=True)
    moved, _ = pads_last(embeds, mask)
    plain = embeds.gather(1, order.unsqueeze(-1).expand_as(embeds))
    assert torch.equal(moved, plain) and not torch.equal(moved, embeds)
    seen = torch.randn(moved.shape, generator=generator)
    first, second = (torch.autograd.grad((each * seen).sum(), embeds)[0] for each in (moved, plain))
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_text_that_is_said_to_be_padded_behind_reads_the_same_without_moving(make, name):
    network, batch = make(name, projection=False).train(), batch_of([5, 3, 1], features=False)
    said = dataclasses.replace(batch, right_padded=True)
    losses = [drawn_alike(network, each) for each in (batch, said)]
    assert torch.equal(*losses)
    weights = [weight for group in network.param_groups().values() for weight in group]
    if name == "none":  # nothing trains
        return
    for plain, fast in zip(*(torch.autograd.grad(loss, weights) for loss in losses), strict=True):
        assert torch.equal(plain, fast)


def drawn_alike(network: Network, batch: Batch) -> torch.Tensor:
    torch.manual_seed(0)  # of a router's noise
    return network(batch).mean()


def test_pads_before_the_visual_tokens_move_whatever_is_said_of_the_text(make):
    network, batch = make("dept"), batch_of([5, 3, 1])
    said = dataclasses.replace(batch, right_padded=True)
    assert torch.equal(network(batch), network(said))


def kept(network: Network, batch: Batch) -> int:
    return kept_bytes(lambda: network(batch).mean(), network.parameters())


def gradients(network: Network, batch: Batch) -> list[torch.Tensor]:
    torch.manual_seed(0)  # of the dropout
    weights = [weight for group in network.param_groups().values() for weight in group]
    return list(torch.autograd.grad(network(batch).mean(), weights))


@pytest.mark.parametrize("dropout", [False, True])
def test_recomputed_activations_give_the_same_gradients_for_less_memory(make, dropout):
    plain, sparing = make(dropout=dropout).train(), make(dropout=dropout)
    sparing.backbone.checkpoint_activations()
    sparing.train()
    batch = batch_of([30, 12, 25], targets=[6, 2, 4])
    for wanted, given in zip(gradients(plain, batch), gradients(sparing, batch), strict=True):
        torch.testing.assert_close(given, wanted, **TIGHT)
    assert kept(sparing, batch) < 0.7 * kept(plain, batch)
    dropouts = [m for m in sparing.backbone.modules() if isinstance(m, torch.nn.Dropout)]
    assert dropouts and all(m.training == dropout for m in dropouts)
    sparing.eval()
    assert not any(module.training for module in sparing.modules())


CAUSAL = {"gpt2": write_tiny_gpt2, "llama": write_tiny_llama}
causal = pytest.mark.parametrize("kind", CAUSAL)
adapters = pytest.mark.parametrize("name", sorted(ADAPTERS))


@pytest.fixture(scope="module")
def causal_folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("causal")
    return {name: write(root / name, d_model=16) for name, write in CAUSAL.items()}


@pytest.fixture
def make_causal(causal_folders):
    def make_causal(kind, name="dept", *, projection=True):
        backbone = load_backbone(str(causal_folders[kind]), kind="causal")
        generator = torch.Generator().manual_seed(0)
        adapter = build_adapter(name, torch.randn(8, 16, generator=generator), ADAPTERS[name], generator)
        visual = {"projection": VisualProjection(WIDTH, 16, PATCHES, generator)} if projection else {}
        return randomise(Network(backbone, {"adapter": adapter, **visual}).eval())

    return make_causal


@causal
def test_a_causal_model_may_recompute_its_activations_too(make_causal, kind):
    plain, sparing = make_causal(kind).train(), make_causal(kind)
    sparing.backbone.checkpoint_activations()
    sparing.train()
    batch = small(batch_of([5, 3, 8]))
    for wanted, given in zip(gradients(plain, batch), gradients(sparing, batch), strict=True):
        torch.testing.assert_close(given, wanted, **TIGHT)
    assert kept(sparing, batch) < kept(plain, batch)
    sparing.eval()
    assert torch.equal(sparing.generate(batch, max_new_tokens=4), plain.eval().generate(batch, max_new_tokens=4))


def small(batch: Batch) -> Batch:
    """Its ids within the small vocabularies, 0 only where a pad is."""
    labels = batch.labels.where(batch.labels < 0, batch.labels % 50 + 3)
    return Batch((batch.input_ids % 50 + 3) * batch.mask, batch.mask, labels, batch.features, batch.ids)


@causal
@adapters
def test_a_causal_network_reads_past_padding_too(make_causal, kind, name):
    network, batch = make_causal(kind, name), small(batch_of([6, 2, 4], targets=[3, 1, 2]))
    tree = CandidateTree([[5, 6, 1], [5, 7, 1], [8, 1], [9, 10, 1], [9, 11, 12, 1]])
    loss, answers, chosen = network(batch), network.generate(batch, max_new_tokens=5), network.choose(batch, tree)
    for columns in ([6, 6, 6], [0, 0], [1], [3, 3], [0, 2, 5, 6]):
        padded = with_pads(batch, columns)
        torch.testing.assert_close(network(padded), loss, rtol=1e-4, atol=1e-4)
        assert torch.equal(network.generate(padded, max_new_tokens=5), answers)
        assert torch.equal(network.choose(padded, tree), chosen)


@causal
def test_an_empty_prompt_without_a_projection_is_the_plain_causal_model(make_causal, kind):
    network, batch = make_causal(kind, "none", projection=False), small(batch_of([5, 5], features=False))
    joined = torch.cat([batch.input_ids, batch.labels], dim=1)
    with torch.no_grad():
        wanted = network.backbone.model(input_ids=joined).logits[:, 4:-1]
        torch.testing.assert_close(
            network.backbone.logits(*network.embed(batch), batch.labels), wanted, rtol=1e-4, atol=1e-4
        )
    plain = network.backbone.model.generate(
        input_ids=batch.input_ids, attention_mask=batch.mask, max_new_tokens=4, do_sample=False
    )
    assert torch.equal(network.generate(batch, max_new_tokens=4), plain[:, 5:])


def answers_of(network: Network, batch: Batch) -> list[torch.Tensor]:
    """The first choice among candidates, then the first words."""
    tree = CandidateTree([[number, 1] for number in range(3, 50)])
    return [network.choose(batch, tree), network.generate(batch, max_new_tokens=4)]


def equal(given: list[list[torch.Tensor]], wanted: list[list[torch.Tensor]]) -> list[bool]:
    """Of choices, then of words: whether those of all batches are equal."""
    pairs = zip(zip(*given, strict=True), zip(*wanted, strict=True), strict=True)
    return [all(torch.equal(*pair) for pair in zip(one, other, strict=True)) for one, other in pairs]


@causal
@pytest.mark.parametrize("name", sorted(set(ADAPTERS) - {"none"}))
def test_a_prompt_is_computed_once_until_an_optimizer_moves_it(make_causal, kind, name):
    network, batches = make_causal(kind, name), [small(batch_of(lengths)) for lengths in ([6, 2], [3], [1, 1, 9])]
    before, cache = [answers_of(network, batch) for batch in batches], network.backbone.prompt_cache
    once = 0 if network.adapter.reads_text else 1  # its prompt is another one for each row
    assert cache.computed == once
    sgd = torch.optim.SGD([weight for group in network.param_groups().values() for weight in group], lr=10.0)
    network(batches[0]).mean().backward()  # without train() and eval(), which drop what is kept
    sgd.step()
    after = [answers_of(network, batch) for batch in batches]
    assert cache.computed == 2 * once and equal(before, after) == [False, False]
    fresh = make_causal(kind, name)
    fresh.load_trained_state({name: value.clone() for name, value in network.trained_state().items()})
    assert equal([answers_of(fresh, batch) for batch in batches], after) == [True, True]


@adapters
def test_what_free_decoding_says_is_chosen_among_candidates(make, name):
    network, batch = make(name), batch_of([6, 2, 4, 1, 3])
    network.backbone.model.generation_config.eos_token_id = None
    free = network.generate(batch, max_new_tokens=3)[:, 1:].tolist()  # without the decoder's start token
    others = [[*row[:2], (row[2] + 1) % 300] for row in free]
    rows = [list(row) for row in dict.fromkeys(map(tuple, others + free))]
    chosen = network.choose(batch, CandidateTree(rows))
    assert [rows[each] for each in chosen.tolist()] == free and not chosen.requires_grad
    assert len(set(map(tuple, free))) > 2


@pytest.mark.parametrize("covers", ["text", "text_and_visual"])
def test_each_rows_task_reaches_the_adapter_and_stays_with_its_row(make, covers):
    """In a batch of a mixture, alone and where the rows name adapters of the bank."""
    network = make("mpt", num_tasks=3)
    network.covers = covers
    batch = dataclasses.replace(batch_of([5, 3, 8, 6]), tasks=torch.tensor([2, 0, 1, 2]))
    losses = network(batch)
    for row in range(4):
        names = ("input_ids", "mask", "labels", "features", "tasks")
        own = dataclasses.replace(batch, **{name: getattr(batch, name)[row : row + 1] for name in names})
        torch.testing.assert_close(network(own), losses[row : row + 1], **TIGHT)
    swapped = network(dataclasses.replace(batch, tasks=(batch.tasks + 1) % 3))
    assert ((swapped - losses).abs() > 1e-3).all()
    network.bank["many"] = BankEntry(network.adapter, network.projection)
    one = make("mpt", seed=5).adapter
    network.bank["one"] = BankEntry(one, network.projection)
    together = network(dataclasses.replace(batch, adapters=("many", "one", "many", "many")))
    torch.testing.assert_close(together[[0, 2, 3]], losses[[0, 2, 3]], **TIGHT)
    assert batch.to(torch.device("cpu")).tasks.equal(batch.tasks)
