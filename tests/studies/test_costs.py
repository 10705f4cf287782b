"""The memory of a step: what is kept for the backward pass, no weights among it."""

import torch

from dept_vl.model import Batch
from dept_vl.studies.costs import saved_bytes
from tests.tiny_runs import build_network


def batch(rows=2, seq=6):
    ids = torch.randint(3, 200, (rows, seq), generator=torch.Generator().manual_seed(0))
    return Batch(ids, torch.ones_like(ids), ids[:, :3].clone(), None, tuple(range(rows)))


def text_network(byte_t5):
    network = build_network(byte_t5, dropout=False)
    network.projection = None
    return network


def test_memory_is_the_same_each_time_and_grows_with_the_batch(byte_t5):
    network = text_network(byte_t5)
    one = saved_bytes(network, batch())
    assert saved_bytes(network, batch()) == one > 0
    assert 1.8 < saved_bytes(network, batch(rows=4)) / one < 2.2, "weights would not grow with the rows"
    assert saved_bytes(network, batch(seq=12)) > one
