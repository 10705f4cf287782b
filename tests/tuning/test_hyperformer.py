"""HyperFormer++: what is generated, for which task, how often, and where the gradient goes."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dept_vl.adapters import build_adapter
from dept_vl.backbones import Backbone, CandidateTree
from dept_vl.model import BASE, BankEntry, Batch, Network
from dept_vl.tuning import HyperFormer
from tests.tiny_tunings import attached, read, rows

TIGHT = {"rtol": 1e-4, "atol": 2e-5}


def of_tasks(*tasks: int) -> SimpleNamespace:
    """As much of a batch as the method reads."""
    return SimpleNamespace(embeds=None, mask=None, ids=None, tasks=torch.tensor(tasks))


def logits(backbone: Backbone, tuning: HyperFormer, *tasks: int) -> Tensor:
    tuning.context(of_tasks(*tasks))
    return read(backbone)


def controllers(tuning: HyperFormer) -> list[torch.nn.Module]:
    return list({id(each.controller): each.controller for each in tuning._behind.values()}.values())


def test_an_adapter_is_the_papers_equation(load):
    tuning = attached("hyperformer", load(), random=True)
    path, adapter = "decoder.block.1.layer.0.SelfAttention", tuning._behind["decoder.block.1.layer.0.SelfAttention"]
    assert adapter.place == (1, 1) and tuning._behind[path.replace("0.SelfAttention", "2.DenseReluDense")].place == (
        1,
        0,
    )
    w = {name.removeprefix("decoder.controller."): each for name, each in tuning.weights.named_parameters()}
    joined = torch.cat([w["task_embedding"][0], w["layers"][1], w["kinds"][1]])
    hidden = w["out.weight"] @ F.relu(w["hidden.weight"] @ joined + w["hidden.bias"]) + w["out.bias"]
    features = F.layer_norm(hidden, (64,), w["norm.weight"], w["norm.bias"])
    down, down_bias, up, up_bias, gain, bias = (
        w[f"{name}.weight"] @ features + w[f"{name}.bias"]
        for name in ("bottleneck.down", "bottleneck.down_bias", "bottleneck.up", "bottleneck.up_bias", "gain", "bias")
    )
    x = torch.randn(1, 3, 16, generator=torch.Generator().manual_seed(4))
    inner = F.gelu(x @ down.view(4, 16).T + down_bias, approximate="tanh")
    wanted = x + F.layer_norm(inner @ up.view(16, 4).T + up_bias, (16,), gain, bias)
    torch.testing.assert_close(adapter(x), wanted, **TIGHT)


def test_it_starts_as_noise_of_the_derived_size(load):
    """|I| = 8 and maps of N(0, 0.01^2): the norms' gains and biases are N(0, 0.08^2), not 1 and 0."""
    tuning = attached("hyperformer", load(), num_tasks=16)
    tuning.context(of_tasks(*range(16)))
    for each in (-2, -1):
        drawn = torch.cat([adapter._weights()[each].flatten() for adapter in tuning._behind.values()])
        assert drawn.std().item() == pytest.approx(0.08, rel=0.2)


def test_without_the_generated_norms_it_is_the_frozen_model(kind, load):
    backbone = load(kind)
    frozen = read(backbone)
    tuning = attached("hyperformer", backbone)
    with torch.no_grad():
        for controller in controllers(tuning):
            controller.gain.weight.zero_()
            controller.bias.weight.zero_()
    assert torch.equal(read(backbone), frozen)


def test_what_is_kept_is_what_is_generated_and_is_generated_once(load):
    backbone = load()
    tuning = attached("hyperformer", backbone, random=True, num_tasks=2)
    calls: list[int] = []
    for controller in controllers(tuning):
        controller.register_forward_hook(lambda *given: calls.append(len(given[1][0])))
    kept = [logits(backbone, tuning, *tasks) for tasks in ((0, 0), (1, 1), (0, 0), (0, 1), (1, 1))]
    assert calls == [1] * 2 * 8  # two tasks at eight places
    torch.testing.assert_close(backbone.logits(*rows(backbone)), kept[-1], **TIGHT)  # with gradient: generated anew
    assert len(calls) == 3 * 8 and not torch.allclose(kept[0], kept[1], **TIGHT)
    with torch.no_grad():
        tuning.weights.task_embedding[1] += 1.0
    assert not torch.allclose(read(backbone), kept[-1], **TIGHT)
    tuning.train()
    assert not any(each.kept for each in tuning._behind.values())


@pytest.mark.parametrize("training", [False, True])
def test_rows_of_several_tasks_are_read_as_each_alone(kind, training, load):
    backbone = load(kind)
    tuning = attached("hyperformer", backbone, random=True, num_tasks=3)
    alone = [logits(backbone, tuning, task, task)[row] for row, task in enumerate((2, 0))]
    tuning.context(of_tasks(2, 0))
    with torch.set_grad_enabled(training):
        torch.testing.assert_close(backbone.logits(*rows(backbone)), torch.stack(alone), **TIGHT)


def test_a_search_follows_the_tasks_of_its_rows(load):
    backbone = load()
    tuning = attached("hyperformer", backbone, random=True, num_tasks=2)
    embeds, mask, labels = rows(backbone)
    by_row = logits(backbone, tuning, 1, 0)
    beams = backbone.logits(*(each.repeat_interleave(3, dim=0) for each in (embeds, mask, labels)))
    torch.testing.assert_close(beams, by_row.repeat_interleave(3, dim=0), **TIGHT)

    def search(*tasks: int, row: slice = slice(None)) -> list[list[int]]:
        tuning.context(of_tasks(*tasks))
        return backbone.generate(embeds[row], mask[row], max_new_tokens=4, num_beams=3).tolist()

    assert search(1, 0) == search(1, row=slice(0, 1)) + search(0, row=slice(1, 2))
    assert search(1, 0) != search(0, 1)


def test_tasks_with_one_embedding_are_one(load):
    backbone = load()
    tuning = attached("hyperformer", backbone, random=True, num_tasks=2)
    assert not torch.allclose(logits(backbone, tuning, 0, 0), logits(backbone, tuning, 1, 1), **TIGHT)
    with torch.no_grad():
        tuning.weights.task_embedding[1] = tuning.weights.task_embedding[0]
    assert torch.equal(logits(backbone, tuning, 0, 0), logits(backbone, tuning, 1, 1))


@pytest.mark.parametrize("tasks", [(1, 1), (0, 2)])
def test_the_embeddings_of_tasks_in_the_batch_alone_get_a_gradient(tasks, load):
    backbone = load()
    tuning = attached("hyperformer", backbone, num_tasks=3)
    tuning.context(of_tasks(*tasks))
    backbone.loss(*rows(backbone)).mean().backward()
    assert tuning.weights.task_embedding.grad.any(1).tolist() == [task in tasks for task in range(3)]


def test_tasks_that_there_are_not_and_rows_without_one_are_refused(load):
    backbone = load()
    tuning = attached("hyperformer", backbone, num_tasks=2)
    for tasks, given in (((0, 2), 2), ((-1, 0), -1)):
        with pytest.raises(ValueError, match=f"HyperFormer: wanted tasks from 0 to below 2, given {given}"):
            tuning.context(of_tasks(*tasks))
    with pytest.raises(ValueError, match="wanted the 3 rows whose tasks were given, given 2"):
        logits(backbone, tuning, 0, 1, 0)
    with pytest.raises(ValueError, match="HyperFormer of 2 tasks: wanted each row's task, given none"):
        tuning.context(SimpleNamespace(embeds=None, mask=None, ids=None, tasks=None))


def test_the_network_gives_each_batch_its_tasks(load):
    """Rows of several tasks share no prompt that a causal model computes once."""
    backbone = load("gpt2")
    tuning = attached("hyperformer", backbone, random=True, num_tasks=2)
    adapter = build_adapter("pt", torch.randn(2, backbone.d_model), {"num_virtual_tokens": 2})
    network = Network(backbone, {"adapter": adapter, "inside": tuning})
    batch = Batch(torch.tensor([[3, 4], [5, 6]]), torch.ones(2, 2, dtype=torch.int64), tasks=torch.tensor([1, 1]))
    tuning.context(of_tasks(0, 1))
    assert tuning.by_row and network._shared(batch)["prompt_length"] == 0
    network.embed(batch)
    assert not tuning.by_row and tuning._tasks.present == (1,) and network._shared(batch)["prompt_length"] == 2


def test_a_causal_models_kept_prompt_is_its_tasks(load):
    backbone = load("gpt2")
    tuning = attached("hyperformer", backbone, random=True, num_tasks=2)
    prompt = torch.randn(1, 4, backbone.d_model, generator=torch.Generator().manual_seed(2)).expand(2, -1, -1)
    mask, paths = torch.ones(2, 4, dtype=torch.int64), torch.zeros(1, 0, dtype=torch.int64)
    for task in (0, 1, 0):
        tuning.context(of_tasks(task, task))
        kept, whole = (backbone.next_token_logits(prompt, mask, paths, prompt_length=each) for each in (2, 0))
        torch.testing.assert_close(kept, whole, **TIGHT)


@pytest.mark.parametrize("named", [False, True])
def test_rows_of_several_tasks_are_chosen_as_each_alone_however_many_go_together(named, load, monkeypatch):
    """Also where the rows name adapters of the bank, and where the logits of two rows alone fit."""
    backbone = load()
    tuning = attached("hyperformer", backbone, random=True, num_tasks=3)
    adapter = build_adapter("pt", torch.randn(2, backbone.d_model), {"num_virtual_tokens": 2})
    network = Network(backbone, {"adapter": adapter, "inside": tuning}).eval()
    network.bank["own"] = BankEntry(adapter)
    ids = torch.randint(3, 300, (7, 5), generator=torch.Generator().manual_seed(6))
    names = tuple("own" if row % 3 else BASE for row in range(7)) if named else None
    batch = Batch(ids, torch.ones_like(ids), tasks=torch.tensor([2, 0, 1, 1, 2, 0, 0]), adapters=names)
    tree = CandidateTree([[token, 1] for token in range(3, 90)])

    def alone(row: int) -> int:
        own = slice(row, row + 1)
        single = Batch(ids[own], batch.mask[own], tasks=batch.tasks[own], adapters=names and names[own])
        return int(network.choose(single, tree))

    wanted = [alone(row) for row in range(7)]
    assert len(set(wanted)) > 2
    assert network.choose(batch, tree).tolist() == wanted
    monkeypatch.setattr("dept_vl.backbones.candidates.MAX_LOGITS", 2 * 300)
    assert network.choose(batch, tree).tolist() == wanted
