"""A network with something inside its frozen model can be copied and pickled; the copy is one of its own."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch

from dept_vl.model import Network
from tests.tiny_runs import batch_of
from tests.tiny_tunings import attached, network_with, read


def pickled(network: Network) -> Network:
    return pickle.loads(pickle.dumps(network))


@pytest.mark.parametrize("again", [copy.deepcopy, pickled])
def test_a_copy_computes_with_its_own_weights(case, again: Callable[[Network], Network], load):
    backbone = load()
    frozen = read(backbone)
    network = network_with(attached(case, backbone, random=True), backbone).eval()
    batch, other = batch_of([4, 2], features=False), again(network)
    before = network(batch).detach()
    assert torch.equal(other(batch), before)
    other(batch).sum().backward()
    assert any(weight.grad is not None and weight.grad.any() for weight in other.parts.parameters())
    assert all(weight.grad is None for weight in network.parts.parameters())
    with torch.no_grad():
        for weight in other.parts.parameters():
            weight.add_(0.5)
    assert torch.equal(network(batch), before) and not torch.equal(other(batch), before)
    other.parts["inside"].detach()
    assert torch.equal(read(other.backbone), frozen) and torch.equal(network(batch), before)
