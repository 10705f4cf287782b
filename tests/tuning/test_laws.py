"""The laws that every tuning keeps, run over all that are registered and the frozen models of each supported type."""

import pytest
import torch

from dept_vl.train.optim import build_optimizer
from dept_vl.tuning import TUNINGS, BadTuning, UnfitTuning
from tests.tiny_runs import fit_toy, trained_bytes
from tests.tiny_tunings import (
    CASES,
    FAR,
    MERGING,
    NEAR,
    ONLY_T5,
    RATES,
    attached,
    make,
    network_with,
    read,
    rows,
    same,
    values,
)

TIGHT = {"rtol": 1e-4, "atol": 2e-5}


def test_every_registered_tuning_is_under_the_laws():
    assert set(CASES) == set(TUNINGS)


def test_it_starts_as_the_frozen_model_or_near_it(case, kind, load):
    backbone = load(kind)
    frozen = read(backbone)
    attached(case, backbone)
    distance = (read(backbone) - frozen).abs().max() / frozen.abs().max()
    if case in FAR:
        assert distance > 0.1
        return
    assert distance < NEAR.get(case, 2e-6)
    assert (distance > 0) or case not in NEAR


def test_named_weights_train_and_no_others(case, kind, load):
    """Each but the dead gets a gradient within two steps; taken off, the frozen model is what it was, bit by bit."""
    backbone = load(kind)
    before, frozen = values(backbone), read(backbone)
    tuning = attached(case, backbone)
    network = network_with(tuning, backbone).train()
    groups = network.param_groups()
    weights = dict(tuning.weights.named_parameters())
    assert set(groups) <= set(tuning.groups) and all(groups.values())
    assert sorted(map(id, sum(groups.values(), []))) == sorted(map(id, weights.values()))
    assert {id(each) for each in network.parameters() if each.requires_grad} == set(map(id, weights.values()))
    start = {name: weight.detach().clone() for name, weight in weights.items()}
    optimizer = build_optimizer(groups, RATES, weight_decay=0.1, betas=(0.9, 0.999), eps=1e-6)
    most = dict.fromkeys(weights, 0.0)
    for _ in range(2):
        optimizer.zero_grad()
        backbone.loss(*rows(backbone)).mean().backward()
        most = {name: max(most[name], weight.grad.abs().max().item()) for name, weight in weights.items()}
        optimizer.step()
    assert all(most.values()) and all(tuning.dead.values())
    for name in tuning.dead:  # a key's bias, of whose gradient rounding alone is left, beside that of the value's
        assert most[name] < 1e-5 * most[name.replace(".k.", ".v.")]
    assert all(not torch.equal(weights[name], start[name]) for name in set(weights) - set(tuning.dead))
    frozen_now = {name.replace(".base_layer", ""): each for name, each in backbone.model.named_parameters()}
    assert all(torch.equal(each, before[name]) for name, each in frozen_now.items() if not each.requires_grad)
    tuning.detach()
    assert same(values(backbone), before) and torch.equal(read(backbone), frozen)
    assert not any(weight.requires_grad for weight in backbone.parameters()) and backbone.attached is None


def test_padding_and_other_rows_change_nothing(case, kind, load):
    backbone = load(kind)
    attached(case, backbone, random=True)
    embeds, mask, labels = rows(backbone)
    together = read(backbone)
    for row, length in enumerate(mask.sum(1).tolist()):
        own = slice(row, row + 1)
        alone = backbone.logits(embeds[own, :length], mask[own, :length], labels[own])
        torch.testing.assert_close(alone[0], together[row], **TIGHT)


def test_what_is_generated_is_what_the_logits_say(case, kind, load):
    backbone = load(kind)
    attached(case, backbone, random=True)
    embeds, mask, _ = rows(backbone)
    answers = backbone.generate(embeds, mask, max_new_tokens=3, num_beams=1)
    answers = answers[:, 1:] if backbone.kind == "seq2seq" else answers
    with torch.no_grad():
        said = backbone.logits(embeds, mask, answers).argmax(-1)
    ended = ((answers <= 2).cumsum(1) - (answers <= 2).long()) > 0  # behind a special token nothing is asked for
    assert torch.equal(said[~ended], answers[~ended])


def test_attached_again_it_is_what_it_was(case, kind, load):
    backbone = load(kind)
    tuning = attached(case, backbone, random=True)
    trained = read(backbone)
    tuning.detach()
    tuning.attach(backbone)
    torch.testing.assert_close(read(backbone), trained, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", MERGING)
def test_merged_is_unmerged_and_still_comes_off(name, kind, load):
    backbone = load(kind)
    before = values(backbone)
    tuning = attached(name, backbone, random=True)
    trained = read(backbone)
    tuning.merge()
    torch.testing.assert_close(read(backbone), trained, **TIGHT)
    tuning.detach()
    assert same(values(backbone), before)


@pytest.mark.parametrize("name", [*NEAR, *FAR])
def test_what_does_not_merge_says_so(name, load):
    with pytest.raises(BadTuning, match="wanted a method that merges"):
        attached(name, load()).merge()


def test_a_resumed_run_ends_as_an_uninterrupted_one(case, folders, load, tmp_path):
    def run(folder: str, **more: object) -> bytes:
        torch.manual_seed(3)
        backbone = load()
        network = network_with(attached(case, backbone), backbone, dropout=True, projection=True)
        fit_toy(network, folders["t5"], tmp_path / folder, steps=4, save_steps=2, rates=RATES, **more)
        return trained_bytes(network)

    whole = run("whole")
    assert run("again", resume_from=tmp_path / "whole" / "checkpoints" / "step_2") == whole


@pytest.mark.parametrize("name", ["lora", "bitfit", "ia3", "hyperdecoder", "lst", "prefix", "p_tuning_v2"])
def test_trained_weights_stay_float32_in_a_bfloat16_model(name, load):
    backbone = load(dtype="bfloat16")
    tuning = attached(name, backbone, random=True)
    embeds, mask, labels = rows(backbone)
    backbone.loss(embeds.bfloat16(), mask, labels).mean().backward()
    assert {weight.dtype for weight in tuning.parameters()} == {torch.float32}
    assert {weight.grad.dtype for weight in tuning.parameters() if weight.grad is not None} == {torch.float32}


@pytest.mark.parametrize("name", ["adapter", "hyperformer", "lora_bitfit", "full"])
def test_weights_of_the_models_own_train_in_float32_alone(name, load):
    backbone = load(dtype="bfloat16")
    before = values(backbone)
    with pytest.raises(BadTuning, match="wanted backbone.dtype float32, given bfloat16"):
        make(name).attach(backbone)
    assert backbone.attached is None and same(values(backbone), before)


def test_one_method_at_a_time(load):
    backbone = load()
    attached("bitfit", backbone)
    with pytest.raises(BadTuning, match="LoRA: wanted a frozen model without a method inside, given one with BitFit"):
        make("lora").attach(backbone)
    assert backbone.attached == "BitFit"


def test_weights_of_another_model_are_refused_and_leave_no_trace(case, load):
    one, other = ("t5", "t5_v1_1") if case in ONLY_T5 else ("gpt2", "llama")
    tuning = attached(case, load(one))
    backbone = load(other)
    before = values(backbone)
    tuning.detach()
    with pytest.raises((UnfitTuning, BadTuning)):
        tuning.attach(backbone)
    assert same(values(backbone), before) and backbone.attached is None


def test_a_size_that_weights_claim_takes_no_memory(load):
    tuning = make("lora", r=10**12)
    tuning.hold({"weights.encoder.q.lora_A.weight": torch.zeros(1, 1)})
    with pytest.raises(UnfitTuning, match="LoRA: weights that do not fit"):
        tuning.attach(load())
