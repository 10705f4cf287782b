"""Fisher information of frozen weights, and the side network that starts by it."""

import pytest
import torch

from dept_vl.tuning import BadTuning, build_tuning
from dept_vl.tuning.fisher import fisher
from dept_vl.tuning.side_start import strongest
from tests.tiny_tunings import CASES, read, values


def examples_of(number: int) -> list[tuple[torch.Tensor, ...]]:
    draw = torch.Generator().manual_seed(4)
    found = []
    for place in range(number):
        ids, labels = (torch.randint(3, 60, (1, size), generator=draw) for size in (2 + place % 3, 1 + place % 2))
        found.append((ids, torch.ones_like(ids), labels))
    return found


def test_it_is_the_mean_of_each_examples_own_squared_gradient(load):
    backbone = load()
    before, frozen = values(backbone), read(backbone)
    found = fisher(backbone, iter(examples_of(5)))
    assert not any(weight.requires_grad or weight.grad is not None for weight in backbone.parameters())
    assert all(torch.equal(value, before[name]) for name, value in values(backbone).items())
    assert torch.equal(read(backbone), frozen)
    wanted = {weight: torch.zeros_like(weight) for weight in backbone.model.parameters()}
    backbone.model.requires_grad_(True)
    for ids, mask, labels in examples_of(5):
        backbone.zero_grad()
        backbone.model(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
        for weight, total in wanted.items():
            total += weight.grad.square() / 5
    for weight, total in wanted.items():
        torch.testing.assert_close(found[weight], total, rtol=1e-3, atol=1e-9)
    assert found[backbone.model.get_input_embeddings().weight].sum() > 0, "the table is read, and is the head"


def test_its_mode_comes_back_and_dropout_did_not_act(load):
    backbone = load()
    quiet = fisher(backbone, examples_of(2))
    backbone.train()
    assert all(torch.equal(quiet[weight], each) for weight, each in fisher(backbone, examples_of(2)).items())
    assert backbone.model.training
    with pytest.raises(BadTuning, match="wanted at least one example, given none"):
        fisher(backbone, [])
    assert backbone.model.training and not any(weight.requires_grad for weight in backbone.parameters())


def started(backbone, init_weights: str, seed: int = 0):
    tuning = build_tuning("lst", {**CASES["lst"], "init_weights": init_weights}, torch.Generator().manual_seed(seed))
    tuning.look_at(backbone, examples_of(4))
    tuning.eval().attach(backbone)
    return tuning


def test_the_side_network_keeps_what_counts_for_the_task(load):
    backbone = load()
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for name, weight in backbone.model.named_parameters():
            if "norm" in name:
                weight.add_(torch.randn(weight.shape, generator=generator))  # to tell the channels apart
    scores = fisher(backbone, examples_of(4))
    table, block = backbone.model.get_input_embeddings().weight, backbone.model.encoder.block[1].layer
    channels = strongest(scores[table].sum(0), 1, 8)
    wide = block[0].SelfAttention
    kept = strongest(sum(scores[getattr(wide, name).weight][:, channels].sum(1) for name in "qkv"), 2, 4)
    neurons = strongest(scores[block[1].DenseReluDense.wi.weight][:, channels].sum(1), 1, 16)
    weights = dict(started(backbone, "fisher").weights.named_parameters())
    path = "encoder.block.1.layer"
    assert torch.equal(
        weights["encoder.final_layer_norm.weight"], backbone.model.encoder.final_layer_norm.weight[channels]
    )
    assert torch.equal(weights[f"{path}.0.SelfAttention.q.weight"], wide.q.weight[kept][:, channels])
    assert torch.equal(weights[f"{path}.0.SelfAttention.o.weight"], wide.o.weight[channels][:, kept])
    wo = block[1].DenseReluDense.wo.weight[channels][:, neurons]
    assert torch.equal(weights[f"{path}.1.DenseReluDense.wo.weight"], wo)


def test_its_sizes_are_those_of_the_other_starts_and_its_values_are_not(load):
    by_task, by_magnitude = (dict(started(load(), each).weights.named_parameters()) for each in ("fisher", "magnitude"))
    assert {name: each.shape for name, each in by_task.items()} == {n: each.shape for n, each in by_magnitude.items()}
    assert any(not torch.equal(by_task[name], each) for name, each in by_magnitude.items() if "block" in name)


def test_saved_weights_need_no_examples(load):
    backbone = load()
    tuning = started(backbone, "fisher")
    before = read(backbone)
    tuning.detach()
    again = build_tuning("lst", tuning.config())
    again.hold(tuning.state_dict())
    again.eval().attach(backbone)
    torch.testing.assert_close(read(backbone), before, rtol=0, atol=2e-5)
