import dataclasses

import torch
from torch import Tensor

from dept_vl.batch import Batch

BATCH = Batch(
    input_ids=torch.tensor([[1, 2], [3, 0], [4, 5]]),
    mask=torch.tensor([[1, 1], [1, 0], [1, 1]]),
    labels=torch.tensor([[7], [8], [9]]),
    features=torch.arange(12.0).reshape(3, 2, 2),
    ids=("a", "b", "c"),
    images=("x", "y", "x"),
    right_padded=True,
    adapters=("one", "two", "one"),
    tasks=torch.tensor([0, 1, 2]),
    covered=torch.tensor([[0, 1], [1, 0], [1, 1]]),
)


def test_rows_of_a_batch_carry_every_field():
    picked = BATCH.rows([2, 0])
    for field in dataclasses.fields(Batch):
        whole, given = getattr(BATCH, field.name), getattr(picked, field.name)
        if isinstance(whole, Tensor):
            assert torch.equal(given, torch.stack([whole[2], whole[0]])), field.name
        elif isinstance(whole, tuple):
            assert given == (whole[2], whole[0]), field.name
        else:
            assert given is whole, field.name


def test_what_a_batch_does_not_carry_its_rows_do_not_either():
    bare = Batch(BATCH.input_ids, BATCH.mask).rows([1])
    assert (bare.labels, bare.features, bare.ids, bare.images, bare.adapters) == (None, None, (), None, None)
