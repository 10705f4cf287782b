"""The laws that every adapter keeps, run over all that are registered."""

import inspect
import json
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import dept_vl.adapters
from dept_vl.adapters import ADAPTERS, Folded, build_adapter, from_config
from dept_vl.adapters.contract import (
    BadAdapterSize,
    TooFewInitRows,
    WrongInputs,
    check_inputs,
    check_size,
)

Batch = Callable[..., tuple[Tensor, Tensor]]


def test_every_registered_adapter_is_under_the_laws(cases):
    assert {name for name, _ in cases.values()} == set(ADAPTERS)
    assert all(getattr(dept_vl.adapters, adapter.__name__) is adapter for adapter in ADAPTERS.values())


# What goes in and what comes out


def test_arguments_are_not_written(adapter, case, init, make_batch: Batch):
    embeds, mask = make_batch([3, 5])
    before = embeds.clone(), mask.clone(), init.clone()
    adapter.train()
    if not adapter.reads_text:
        adapter.fold()(embeds, mask)
    out, _ = adapter(embeds, mask)
    if case != "none":
        out.square().sum().backward()
        torch.optim.SGD(adapter.parameters(), lr=1.0).step()
    assert all(torch.equal(now, then) for now, then in zip((embeds, mask, init), before, strict=True))


@pytest.mark.parametrize("dtype", [torch.long, torch.int32, torch.bool])
def test_the_mask_grows_by_ones_in_its_own_dtype(adapter, dtype, make_batch: Batch):
    embeds, mask = make_batch([3, 5])
    out, out_mask = adapter(embeds, mask.to(dtype))
    assert out.shape[:2] == out_mask.shape and out_mask.dtype == dtype
    assert out_mask[:, : adapter.num_virtual_tokens].all()
    assert torch.equal(out_mask[:, adapter.num_virtual_tokens :], mask.to(dtype))


def test_the_prompt_stands_first_and_is_the_same_in_every_row(folding, make_batch: Batch):
    out, _ = folding(*make_batch([3, 5]))
    for row in out:
        torch.testing.assert_close(row[: folding.num_virtual_tokens], folding.fold().prompt)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_the_result_is_cast_once_to_the_compute_dtype(adapter, dtype, make_batch: Batch):
    embeds, mask = make_batch([3, 5])
    out, _ = adapter(embeds.to(dtype), mask)
    exact, _ = adapter(embeds.to(dtype).float(), mask)
    assert out.dtype == dtype and torch.equal(out, exact.to(dtype))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_are_fp32_whatever_init_is(case, cases, dtype, init):
    name, arguments = cases[case]
    adapter = build_adapter(name, init.to(dtype), arguments)
    tensors = [*adapter.parameters(), *adapter.buffers()]
    assert {tensor.dtype for tensor in tensors if tensor.is_floating_point()} == {torch.float32}
    assert adapter.reads_text or adapter.fold().prompt.dtype == torch.float32


def test_autocast_does_not_touch_the_adapter(adapter, make_batch: Batch):
    embeds, mask = make_batch([3, 5])
    plain, _ = adapter(embeds, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast, _ = adapter(embeds, mask)
        folded = plain if adapter.reads_text else adapter.fold()(embeds, mask)[0]
    assert torch.equal(plain, under_autocast)
    torch.testing.assert_close(folded, plain)


def test_text_of_no_tokens_is_the_prompt_alone(adapter, d_model):
    out, mask = adapter(torch.zeros(2, 0, d_model), torch.zeros(2, 0, dtype=torch.long))
    assert out.shape == (2, adapter.num_virtual_tokens, d_model) and mask.shape == out.shape[:2]


def test_embeds_of_another_width_are_refused(adapter, d_model):
    wanted = rf"wanted embeds \[batch, seq, {d_model}\] \(the adapter's token_dim\), given \[2, 3, {d_model + 1}\]"
    for read in filter(None, (adapter, adapter.fold())):
        with pytest.raises(WrongInputs, match=wanted):
            read(torch.zeros(2, 3, d_model + 1), torch.ones(2, 3, dtype=torch.long))


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(WrongInputs, match=r"wanted a mask \[2, 3\] as the embeds have it, given \[1, 3\]"):
        check_inputs(torch.zeros(2, 3, 8), torch.ones(1, 3), 8)


# Weights


def test_every_weight_is_in_exactly_one_group(fresh):
    adapter = fresh()
    grouped = [id(weight) for group in adapter.param_groups().values() for weight in group]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(weight) for weight in adapter.parameters()}
    assert all(adapter.param_groups().values())


@pytest.mark.parametrize("training", [True, False])
def test_gradient_reaches_every_weight(adapter, case, training, make_batch: Batch):
    adapter.train(training)
    out, _ = adapter(*make_batch([3, 6]))
    if case == "none":
        assert not out.requires_grad and not list(adapter.parameters())
        return
    out.square().sum().backward()
    for name, weight in adapter.named_parameters():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, name
        assert weight.grad.dtype == torch.float32


def test_every_weight_gets_a_gradient_within_two_steps(fresh, case, make_batch: Batch):
    if case == "none":
        return
    adapter, batch, still = fresh(), make_batch([3, 6]), []
    for _ in range(2):
        adapter.zero_grad()
        adapter(*batch)[0].square().sum().backward()
        still.append({name for name, weight in adapter.named_parameters() if not weight.grad.any()})
        torch.optim.SGD(adapter.parameters(), lr=0.01).step()
    assert not set.intersection(*still)


def test_rows_of_pads_get_no_gradient(adapter, make_batch: Batch):
    if "lora_embedding_A" not in dict(adapter.named_parameters()):
        return
    out, _ = adapter(*make_batch([1, 3], seq=5))
    out.square().sum().backward()
    assert adapter.lora_embedding_A.grad[:3].abs().sum(dim=1).gt(0).all()
    assert not adapter.lora_embedding_A.grad[3:].any()


def test_one_seed_draws_one_adapter_and_leaves_the_global_generator(fresh, case):
    state = torch.get_rng_state()
    first, same, other = fresh(0), fresh(0), fresh(1)
    assert torch.equal(torch.get_rng_state(), state)
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, same.state_dict()[name])
    draws = "generator" in inspect.signature(type(first)).parameters
    assert draws == any(not torch.equal(w, other.state_dict()[n]) for n, w in first.state_dict().items())


def test_too_few_start_vectors_are_refused_where_they_are_used(case, cases, init):
    name, arguments = cases[case]
    num = ADAPTERS[name].start_rows(arguments)
    try:
        drawn = build_adapter(name, init[:2], arguments, torch.Generator())
    except TooFewInitRows as error:
        assert re.search(rf"num_virtual_tokens={num} wants an init of at least {num} rows, given 2", str(error))
        return
    given = build_adapter(name, init, arguments, torch.Generator()).state_dict()  # it takes no start vectors
    assert all(torch.equal(weight, given[key]) for key, weight in drawn.state_dict().items())


@pytest.mark.parametrize("value", [0, -3, 2.0, True, None, "7"])
def test_a_size_is_an_integer_of_at_least_its_minimum(value):
    with pytest.raises(BadAdapterSize, match=r"DPT: wanted r to be an integer >= 1, given .* \(use less\)$"):
        check_size("DPT", "r", value, minimum=1, why="use less")
    check_size("DPT", "r", 1, minimum=1)


def test_no_size_may_be_negative_or_useless(case, cases, init):
    name, arguments = cases[case]
    for key in [key for key, value in arguments.items() if isinstance(value, int)]:
        for value in (-1, 0):
            if (name, key, value) == ("dept", "num_virtual_tokens", 0):
                continue  # the paper's ablation
            with pytest.raises(BadAdapterSize, match=rf"wanted {key} to be an integer >= [01], given {value}"):
                build_adapter(name, init, {**arguments, key: value})


def test_diagnostics_are_numbers_that_change_nothing(adapter, case):
    before = {name: weight.clone() for name, weight in adapter.state_dict().items()}
    found = adapter.train().diagnostics()
    assert bool(found) == case.startswith("rank_probe") and json.loads(json.dumps(found)) == found
    assert all(type(value) in (int, float) for value in found.values()) and adapter.training
    assert all(torch.equal(weight, before[name]) for name, weight in adapter.state_dict().items())


# Folding and rebuilding


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("side", ["right", "left"])
def test_folded_equals_unfolded(folding, training, side, make_batch: Batch):
    folding.train(training)
    embeds, mask = make_batch([1, 4, 9], seq=10, side=side)
    out, out_mask = folding(embeds, mask)
    folded, folded_mask = folding.fold()(embeds, mask)
    torch.testing.assert_close(folded, out)
    assert torch.equal(folded_mask, out_mask)


def test_only_what_does_not_read_the_text_folds(adapter):
    assert (adapter.fold() is None) == adapter.reads_text


def test_a_fold_is_a_copy_of_constants(folding, d_model):
    adapter, folded = folding, folding.fold()
    before = Folded(folded.prompt.clone(), None if folded.shift is None else folded.shift.clone())
    assert folded.prompt.shape == (adapter.num_virtual_tokens, d_model) and not folded.prompt.requires_grad
    with torch.no_grad():
        for weight in adapter.parameters():
            weight.add_(1.0)
    assert torch.equal(folded.prompt, before.prompt)
    if folded.shift is not None:
        assert folded.shift.shape == (adapter.max_length, d_model) and not folded.shift.requires_grad
        assert torch.equal(folded.shift, before.shift)


def test_config_and_weights_rebuild_the_adapter(adapter, make_batch: Batch):
    adapter.observe(2)
    random = torch.get_rng_state()
    config, state = json.loads(json.dumps([adapter.config(), adapter.state()]))
    rebuilt = from_config(ADAPTERS.name_of(adapter), adapter.token_dim, config, state)
    assert torch.equal(torch.get_rng_state(), random)
    assert type(rebuilt) is type(adapter) and (rebuilt.config(), rebuilt.state()) == (adapter.config(), adapter.state())
    rebuilt.load_state_dict(adapter.state_dict())
    batch = make_batch([3, 9])
    assert torch.equal(rebuilt.eval()(*batch)[0], adapter(*batch)[0])


def test_a_fold_reads_embeddings_wherever_they_are(folding, make_batch: Batch):
    """`load_adapter` gives it on the CPU; no device but this one is at every test's hand."""
    embeds, mask = make_batch([1, 4])
    out, whole = folding.fold()(embeds.to("meta"), mask.to("meta"))
    assert (out.device.type, whole.device.type) == ("meta", "meta")
