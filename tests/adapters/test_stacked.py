"""Pairs of several adapters read at once are each what it is alone, to the bit."""

import pytest
import torch

from dept_vl.adapters import Folded, stack_pairs

SEQ, WIDTH = 6, 8


@pytest.fixture
def draw():
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, generator=generator)


@pytest.mark.parametrize("lengths", [(3, 9, 1), (0, 4, 4), None], ids=["shifts", "one of no rows", "no shift"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_each_row_reads_what_its_pair_alone_gives(draw, lengths, side):
    pairs = [Folded(draw(2, WIDTH), None if lengths is None else draw(lengths[place], WIDTH)) for place in range(3)]
    index, embeds = torch.tensor([2, 0, 1, 0]), draw(4, SEQ, WIDTH)
    mask = (torch.arange(SEQ) < torch.tensor([[6], [2], [4], [0]])).long()
    mask = mask if side == "right" else mask.flip(1)
    covered = mask * (torch.arange(SEQ) != 1)
    for counted in (None, covered):
        together, own_mask = stack_pairs(pairs, index)(embeds, mask, covered=counted)
        for row, pair in enumerate(index.tolist()):
            part = None if counted is None else counted[row : row + 1]
            alone, alone_mask = pairs[pair](embeds[row : row + 1], mask[row : row + 1], covered=part)
            assert torch.equal(together[row], alone[0]) and torch.equal(own_mask[row], alone_mask[0])
    assert together.shape == (4, 2 + SEQ, WIDTH)
