"""Frozen weights in 8 and 4 bits: how far they are from the model in floats, and that every law of it still holds.

Tolerances, as shares of the reference's own norm: a layer's weights and output 0.01 in int8 and 0.12 in nf4, the
logits of the embedded model 0.01 and 0.1, and a prompt's gradient five times that.
"""

import copy
import importlib.util

import pytest
import torch
from torch import nn
from transformers import T5Config, T5ForConditionalGeneration
from transformers.pytorch_utils import Conv1D

from dept_vl.adapters import build_adapter
from dept_vl.backbones import Backbone, check_laws, load_backbone
from dept_vl.backbones.quantised import FORMATS, Int8Linear, NotQuantised, QuantisedLinear, quantise
from tests.backbones.conftest import WRITERS

NF4 = pytest.param(
    "nf4",
    marks=pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"),
)
FORMS = pytest.mark.parametrize("form", ["int8", "int8_dynamic", NF4])
WEIGHTS_ALONE = pytest.mark.parametrize("form", ["int8", NF4])  # inputs are left as they are
NAMES = pytest.mark.parametrize("name", WRITERS)
LAYER = {"int8": 0.01, "int8_dynamic": 0.02, "nf4": 0.12}
NEAR = {"int8": 0.01, "int8_dynamic": 0.02, "nf4": 0.1}


def off(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found.float() - wanted.float()).detach().norm() / wanted.float().detach().norm())


def held_bytes(model: nn.Module) -> int:
    weights = {id(each): each for each in (*model.parameters(), *model.buffers())}
    return sum(each.numel() * each.element_size() for each in weights.values())


@pytest.fixture
def pair():
    """A linear layer with rows of very different size, one of them zero, and inputs that float16 cannot hold."""
    generator = torch.Generator().manual_seed(0)
    plain = nn.Linear(128, 96)
    with torch.no_grad():
        plain.weight.normal_(generator=generator).mul_(torch.logspace(-3, 1, 96)[:, None])[5].zero_()
    return plain.requires_grad_(False), 1e5 * torch.randn(2, 7, 128, generator=generator)


@FORMS
def test_a_layer_and_its_gradient_are_near_those_of_the_weights_it_packs(pair, form):
    plain, inputs = pair
    packed = FORMATS[form](plain.weight, plain.bias)
    given = [inputs.clone().requires_grad_() for _ in range(2)]
    outputs = [layer(each) for layer, each in zip((plain, packed), given, strict=True)]
    assert off(outputs[1], outputs[0]) < LAYER[form]
    assert off(outputs[1][..., :24], outputs[0][..., :24]) < LAYER[form]  # small rows have scales of their own
    assert torch.equal(outputs[1][..., 5], outputs[0][..., 5])
    for each in outputs:
        each.square().sum().backward()
    assert off(given[1].grad, given[0].grad) < 2 * LAYER[form]
    assert packed.weight.dtype == torch.int8 and not packed.weight.requires_grad


@FORMS
@pytest.mark.parametrize("shape", [(32, 32), (48, 32), (7, 96), (3, 5)])
def test_a_layer_of_any_shape_unpacks_to_what_was_packed(form, shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    whole = FORMATS[form](weight, None)(torch.eye(shape[1])).T
    assert 0 < off(whole, weight) < LAYER[form]


@WEIGHTS_ALONE
def test_the_gradient_is_that_of_the_packed_weights_themselves(pair, form):
    plain, inputs = pair
    packed, inputs = FORMATS[form](plain.weight, None), inputs.clone().requires_grad_()
    (found,) = torch.autograd.grad(packed(inputs).sum(), inputs)
    whole = packed(torch.eye(128)).T  # [outputs, inputs]
    torch.testing.assert_close(found, whole.sum(0).expand_as(found), rtol=1e-4, atol=1e-4)


def test_integers_times_integers_are_exact_where_the_inputs_are_integers_too(pair):
    """Rows whose greatest entry is 127 have a scale of 1: nothing is rounded, in either direction."""
    generator = torch.Generator().manual_seed(1)
    packed, exact = (FORMATS[form](pair[0].weight, None) for form in ("int8_dynamic", "int8"))
    inputs = torch.randint(-126, 127, (2, 7, 128), generator=generator).float()
    inputs[..., 3] = 127
    torch.testing.assert_close(packed(inputs), exact(inputs), rtol=1e-4, atol=1e-2)  # of thousands, summed in float32
    inputs.requires_grad_()
    wanted = torch.randint(-126, 127, (2, 7, 96), generator=generator) / exact.scale
    wanted[..., 5] = 0.0  # a weight of zeros
    wanted[..., 7] = 127 / exact.scale[7]
    given = [torch.autograd.grad(layer(inputs), inputs, wanted)[0] for layer in (packed, exact)]
    torch.testing.assert_close(*given, rtol=1e-4, atol=1e-2)


@FORMS
def test_nothing_unpacked_waits_for_the_backward_pass(pair, form):
    plain, inputs = pair
    packed, kept = FORMATS[form](plain.weight, plain.bias), []
    with torch.autograd.graph.saved_tensors_hooks(lambda each: kept.append(each.shape), lambda each: each):
        packed(inputs.requires_grad_())
    assert plain.weight.shape not in kept


@FORMS
def test_under_autocast_a_layer_computes_in_bfloat16_and_gives_its_input_a_gradient_in_float32(pair, form):
    plain, inputs = pair
    packed, inputs = FORMATS[form](plain.weight, plain.bias), inputs.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = packed(inputs)
    outputs.float().sum().backward()
    assert (outputs.dtype, inputs.grad.dtype) == (torch.bfloat16, torch.float32)
    assert off(outputs, packed(inputs.detach())) < 0.01


@FORMS
@NAMES
def test_a_packed_model_keeps_its_identity_and_only_its_linear_layers_are_packed(load, name, form):
    plain, packed = load(name), load(name, load_in=form)
    assert packed.identity() == plain.identity()
    table, head = packed.model.get_input_embeddings(), packed.model.get_output_embeddings()
    assert torch.equal(table.weight, plain.model.get_input_embeddings().weight)
    assert torch.equal(head.weight, plain.model.get_output_embeddings().weight)
    layers = [each for each in packed.model.modules() if isinstance(each, nn.Linear) and each is not head]
    assert layers and all(isinstance(each, FORMATS[form]) for each in layers)
    assert not any(weight.requires_grad for weight in packed.model.parameters())


def read(backbone: Backbone) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits, and the gradient of a prompt of three virtual tokens."""
    rows = backbone.embedding_table[5:8].clone()
    adapter = build_adapter("pt", rows, {"num_virtual_tokens": 3}, torch.Generator().manual_seed(0))
    (prompt,) = (each for group in adapter.param_groups().values() for each in group)
    text = backbone.embed(torch.tensor([[8, 9, 10, 11], [12, 13, 14, 15]]))
    embeds, mask = torch.cat([prompt.expand(2, -1, -1), text], dim=1), torch.ones(2, 7, dtype=torch.long)
    labels = torch.tensor([[6, 7], [8, 9]])
    backbone.loss(embeds, mask, labels).sum().backward()
    assert prompt.dtype == prompt.grad.dtype == torch.float32
    return backbone.logits(embeds, mask, labels).detach(), prompt.grad


@WEIGHTS_ALONE
@NAMES
def test_a_packed_model_is_the_model_with_the_unpacked_weights(load, name, form):
    plain, packed = load(name), load(name, load_in=form)
    for path, layer in packed.model.named_modules():
        if isinstance(layer, QuantisedLinear):
            own, bias = plain.model.get_submodule(path), 0 if layer.bias is None else layer.bias
            whole = layer(torch.eye(layer.in_features)) - bias  # [inputs, outputs]
            assert 0 < off(whole, own.weight if isinstance(own, Conv1D) else own.weight.T) < LAYER[form]
            own.weight.data = whole if isinstance(own, Conv1D) else whole.T
    for found, wanted in zip(read(packed), read(plain), strict=True):
        assert off(found, wanted) < 1e-4


@FORMS
def test_the_embedded_models_logits_and_gradients_are_near_those_in_float32(form):
    pairs = zip(read(load_backbone("tiny-t5", load_in=form)), read(load_backbone("tiny-t5")), strict=True)
    logits, gradients = (off(*pair) for pair in pairs)
    assert 0 < logits < NEAR[form] and 0 < gradients < 5 * NEAR[form], (logits, gradients)


@FORMS
@NAMES
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_pads_embeddings_and_a_kept_prompt_change_no_logit_of_a_packed_model(load, name, form, dtype):
    check_laws(load(name, load_in=form, dtype=dtype))  # to 1e-3 of the logits' spread in float32, 0.1 in bfloat16


@FORMS
def test_rows_of_a_batch_are_what_they_are_alone(load, form):
    backbone = load("t5", load_in=form)
    embeds = torch.randn(3, 6, backbone.d_model, generator=torch.Generator().manual_seed(0))
    embeds[2] *= 1e3  # an outlier in one row
    mask, labels = torch.ones(3, 6, dtype=torch.long), torch.tensor([[5, 6], [7, 8], [9, 10]])
    together = backbone.logits(embeds, mask, labels)
    for row in range(3):
        alone = backbone.logits(embeds[row : row + 1], mask[:1], labels[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-4, atol=1e-4)


@FORMS
def test_at_the_shape_of_t5_base_a_packed_model_takes_little_over_half_or_a_third_of_bfloat16(form):
    """Counted on one layer of each stack, without weights: the other eleven are the same."""
    config = T5Config(d_model=768, d_kv=64, d_ff=3072, num_layers=1, num_heads=12, vocab_size=32128)
    with torch.device("meta"):
        model = T5ForConditionalGeneration(config).bfloat16()
    stacks = (model.encoder.block, model.decoder.block)
    table = model.get_input_embeddings().weight.numel() * 2
    before = table + 12 * sum(map(held_bytes, stacks))
    for block in stacks:
        block.to_empty(device="cpu").requires_grad_(False)
        for weight in block.parameters():
            nn.init.normal_(weight)
    quantise(model, form)
    after = table + 12 * sum(map(held_bytes, stacks))
    assert after / before < {"int8": 0.57, "int8_dynamic": 0.57, "nf4": 0.37}[form]


def test_a_format_that_is_unknown_or_lacks_its_library_is_refused_before_the_model_is_read(monkeypatch):
    with pytest.raises(NotQuantised, match="int8, int8_dynamic, nf4, or null, given 'int4'"):
        load_backbone("no-such-model", load_in="int4")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotQuantised, match=r"nf4: wanted the package bitsandbytes.*dept_vl\[bits\]"):
        load_backbone("no-such-model", load_in="nf4")


def test_a_packed_layer_moves_and_copies_as_any_other(pair):
    plain, inputs = pair
    packed = Int8Linear(plain.weight, plain.bias)
    other = copy.deepcopy(packed)
    other.load_state_dict(packed.state_dict())
    assert set(packed.state_dict()) == {"weight", "bias", "scale"} and isinstance(packed, QuantisedLinear)
    assert torch.equal(other(inputs), packed(inputs))


@pytest.mark.gpu
@FORMS
def test_on_a_gpu_a_packed_model_gives_what_it_gives_on_the_cpu(load, form):
    backbone = load("t5", load_in=form)
    embeds = torch.randn(2, 6, backbone.d_model, generator=torch.Generator().manual_seed(0))
    mask, labels = torch.ones(2, 6, dtype=torch.long), torch.tensor([[5, 6], [7, 8]])
    wanted = backbone.logits(embeds, mask, labels)
    found = backbone.cuda().logits(embeds.cuda(), mask.cuda(), labels.cuda())
    torch.testing.assert_close(found.cpu(), wanted, rtol=1e-3, atol=1e-3)
