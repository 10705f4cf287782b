"""Methods inside a model whose linear layers are packed: they train as on the plain one, or are refused by name."""

import copy

import pytest
import torch
from torch import nn

from dept_vl.backbones import load_backbone
from dept_vl.backbones.quantised import QuantisedLinear
from dept_vl.tuning import BadTuning
from tests.tiny_tunings import MERGING, MODELS, attached, make, rows

READ_WEIGHTS = ("full", "lst")  # they start from the values of the model's own matrices


@pytest.fixture
def packed(folders, kind):
    return load_backbone(str(folders[kind]), kind=MODELS[kind], attn_implementation="eager", load_in="int8")


def unpacked(backbone):
    """A plain model of the values that a packed one computes with."""
    plain = copy.deepcopy(backbone)
    for path, layer in list(plain.model.named_modules()):
        if isinstance(layer, QuantisedLinear):
            whole = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
            whole.weight.data = layer.values(torch.float32) * layer.scale[:, None]
            whole.bias = layer.bias
            plain.model.set_submodule(path, whole.requires_grad_(False).eval())
    return plain


def test_logits_and_gradients_are_those_of_the_unpacked_values_or_the_method_is_refused(case, packed):
    if case in READ_WEIGHTS:
        with pytest.raises(BadTuning, match=r"backbone.load_in null\), given one with .*weight packed"):
            make(case).attach(packed)
        assert packed.attached is None
        return
    read = []
    for backbone in (packed, unpacked(packed)):
        tuning = attached(case, backbone, random=True)
        logits = backbone.logits(*rows(backbone))
        logits.logsumexp(-1).sum().backward()
        assert all(each.dtype == torch.float32 for each in tuning.parameters())
        read.append([logits.detach(), *(each.grad for each in tuning.parameters() if each.grad is not None)])
    assert len(read[0]) > 1
    for found, wanted in zip(*read, strict=True):
        torch.testing.assert_close(found, wanted, rtol=2e-3, atol=2e-3 * float(wanted.abs().max()) + 1e-5)


def test_a_method_leaves_the_packed_model_as_it_was(case, packed):
    if case not in READ_WEIGHTS:
        before = {name: each.clone() for name, each in packed.model.state_dict().items()}
        attached(case, packed, random=True).detach()
        after = packed.model.state_dict()
        assert list(after) == list(before) and all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("name", [each for each in MERGING if each not in READ_WEIGHTS])
@pytest.mark.parametrize("kind", ["t5"])
def test_merging_into_packed_weights_is_refused(packed, name):
    tuning = attached(name, packed, random=True)
    with pytest.raises(BadTuning, match=r"to be merged: wanted a model in floats .*packed"):
        tuning.merge()
