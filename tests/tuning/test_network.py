"""Tunings within the network: modes, stages, recomputed layers, and what is not supported."""

import inspect

import pytest
import torch

from dept_vl.backbones import Submodel, partial, sort_neurons
from dept_vl.backbones.partial import NoPartialModel, feed_forwards
from dept_vl.registry import BadArguments
from dept_vl.run.measure import count_weights
from dept_vl.tuning import BadTuning, build_tuning
from dept_vl.tuning.contract import Frozen
from tests.tiny_runs import batch_of
from tests.tiny_tunings import CASES, attached, network_with, read, rows

SHORT, NARROW = Submodel((0,), (0,), 32, 32), Submodel((0, 1), (0, 1), 8, 8)


def test_its_own_dropout_acts_in_training_alone_whatever_the_frozen_models_does(load):
    backbone = load()
    network = network_with(attached("lora", backbone, random=True, lora_dropout=0.5), backbone)
    batch = batch_of([4, 2], features=False)
    network.train()
    assert not torch.equal(network(batch), network(batch))
    network.eval()
    assert torch.equal(network(batch), network(batch))


def test_a_backbone_is_frozen_to_the_isinstance_of_python_3_12_too(load):
    backbone = load()
    assert isinstance(backbone, Frozen) and "attached" in Frozen.__annotations__
    for name in Frozen.__annotations__:
        inspect.getattr_static(backbone, name)  # which runs no __getattr__, as a module needs for the modules in it


def test_frozen_and_trained_weights_are_counted_once(load):
    for name, frozen in (("lora", None), ("full", 0)):
        backbone = load()
        whole = sum(weight.numel() for weight in backbone.parameters())
        counted = count_weights(network_with(attached(name, backbone), backbone))
        assert counted["backbone"] == (whole if frozen is None else frozen)
        assert counted["total"] == counted["backbone"] + counted["trained"]


def test_fewer_layers_pass_through_what_is_attached(case, load):
    backbone = load()
    plain = partial(backbone, SHORT).logits(*rows(backbone))
    tuning = attached(case, backbone, random=case != "adapterdrop")
    assert torch.equal(partial(backbone, SHORT).logits(*rows(backbone)), plain) == (case == "adapterdrop")
    tuning.detach()
    torch.testing.assert_close(partial(backbone, SHORT).logits(*rows(backbone)), plain)


def test_fewer_neurons_refuse_what_is_in_the_feed_forwards(case, load):
    backbone = load()
    tuning = attached(case, backbone)
    orders = [torch.arange(32) for _ in feed_forwards(backbone)]
    if case in ("lora", "hyperdecoder", "lst", "prefix", "p_tuning_v2"):  # on attention, or beside what is there
        sort_neurons(backbone, orders)
        partial(backbone, NARROW)
        return
    for refused in (lambda: partial(backbone, NARROW), lambda: sort_neurons(backbone, orders)):
        with pytest.raises(NoPartialModel, match="progressive.kind depth"):
            refused()
    tuning.detach()
    partial(backbone, NARROW)


@pytest.mark.parametrize("name", ["lora", "hyperformer", "hyperdecoder"])
def test_recomputed_layers_give_the_same_gradients(name, load):
    gradients, changes = [], {"lora_dropout": 0.0} if name == "lora" else {}
    for recompute in (False, True):
        backbone = load()
        network = network_with(attached(name, backbone, random=True, **changes), backbone)
        if recompute:
            backbone.checkpoint_activations()
        network.train()(batch_of([4, 2], features=False)).mean().backward()
        gradients.append([weight.grad for each in network.param_groups().values() for weight in each])
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second)


def test_a_causal_models_kept_prompt_is_computed_anew(load):
    """Keys and values of a prompt that were computed with other weights are dropped."""
    backbone = load("gpt2")
    prompt = torch.randn(1, 4, backbone.d_model, generator=torch.Generator().manual_seed(2)).expand(2, -1, -1)
    mask, paths = torch.ones(2, 4, dtype=torch.int64), torch.zeros(1, 0, dtype=torch.int64)

    def ask() -> torch.Tensor:
        return backbone.next_token_logits(prompt, mask, paths, prompt_length=2)

    frozen = ask()
    tuning = attached("lora", backbone, random=True)
    tuning.detach()
    tuning.attach(backbone)
    assert not torch.allclose(ask(), frozen, atol=1e-3)
    tuning.detach()
    assert torch.equal(ask(), frozen)


@pytest.mark.parametrize(
    ("name", "arguments", "error", "message"),
    [
        ("lora", {"rank": 4}, BadArguments, "tuning 'lora': wanted the arguments r, .*; given unknown rank"),
        ("lora", {"r": 0}, BadTuning, "LoRA: wanted r to be an integer >= 1, given 0"),
        ("lora", {"r": 1, "lora_dropout": 1}, BadTuning, "wanted lora_dropout from 0 to below 1, given 1"),
        ("adapter", {"reduction": 0}, BadTuning, "BottleneckAdapter: wanted reduction to be an integer >= 1, given 0"),
        ("adapterdrop", {"num_dropped": -1}, BadTuning, "wanted num_dropped to be an integer >= 0, given -1"),
        ("hyperformer", {"num_tasks": 0}, BadTuning, "wanted num_tasks to be an integer >= 1, given 0"),
        ("hyperdecoder", {"bottleneck": 0}, BadTuning, "wanted bottleneck to be an integer >= 1, given 0"),
    ],
)
def test_impossible_arguments_are_told_before_a_model_is_there(name, arguments, error, message):
    with pytest.raises(error, match=message):
        build_tuning(name, arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("lora", {"target_modules": ["qq"]}, r"LoRA: wanted target_modules of this t5 model, given \['qq'\]"),
        ("adapter", {"reduction": 64}, "wanted reduction of at most 16, given 64"),
        ("adapterdrop", {"num_dropped": 2}, "wanted num_dropped below the number of layers, given 2"),
    ],
)
def test_what_does_not_fit_the_model_is_told_and_leaves_no_trace(name, arguments, message, load):
    backbone = load()
    frozen = read(backbone)
    with pytest.raises(BadTuning, match=message):
        build_tuning(name, CASES[name] | arguments).attach(backbone)
    assert backbone.attached is None and torch.equal(read(backbone), frozen)
