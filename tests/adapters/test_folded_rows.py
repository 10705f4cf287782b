"""Rows that each have their own folded pair get, bit by bit, what the pair gives them alone."""

import pytest
import torch

from dept_vl.adapters import Folded, FoldedRows

D_MODEL, PROMPT = 6, 2


def made(*shifts: int | None) -> list[Folded]:
    """A pair for each number of shift rows, None for no shift."""
    generator = torch.Generator().manual_seed(0)

    def rows(number: int) -> torch.Tensor:
        return torch.randn(number, D_MODEL, generator=generator)

    return [Folded(rows(PROMPT), None if number is None else rows(number)) for number in shifts]


@pytest.fixture
def text() -> tuple[torch.Tensor, torch.Tensor]:
    """Four rows of 5, 1, 3 and 4 tokens, pads behind, in front and between."""
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 0, 0, 1], [1, 0, 1, 0, 1], [1, 1, 1, 1, 0]])
    return torch.randn(4, 5, D_MODEL, generator=torch.Generator().manual_seed(1)), mask


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "shifts", [(3, 5, 9), (None, 2, 5), (None, None, None), (0, 1, None)], ids=["each", "one none", "none", "no rows"]
)
def test_each_row_reads_what_its_own_pair_gives_alone(shifts, dtype, text):
    pairs = made(*shifts)
    embeds, mask = text[0].to(dtype), text[1]
    own = [pairs[place] for place in (2, 0, 2, 1)]
    given, seen = FoldedRows.of(own, embeds.device)(embeds, mask)
    assert given.dtype == dtype
    for row, pair in enumerate(own):
        alone, its = pair(embeds[row : row + 1], mask[row : row + 1])
        assert torch.equal(given[row], alone[0]) and torch.equal(seen[row], its[0])
    assert shifts[0] is None or not torch.equal(given[0, PROMPT:], given[2, PROMPT:])


def test_a_shift_counts_the_covered_tokens_alone(text):
    pairs, (embeds, mask) = made(3, 4), text
    covered = mask * torch.tensor([0, 1, 1, 0, 1])
    own = [pairs[place] for place in (1, 0, 0, 1)]
    given, _ = FoldedRows.of(own, embeds.device)(embeds, mask, covered=covered)
    for row, pair in enumerate(own):
        alone, _ = pair(embeds[row : row + 1], mask[row : row + 1], covered=covered[row : row + 1])
        assert torch.equal(given[row], alone[0])
    assert not torch.equal(given, FoldedRows.of(own, embeds.device)(embeds, mask)[0])


def test_only_the_pairs_that_are_used_are_held_each_once():
    first, second, unused = made(3, 3, 3)
    rows = FoldedRows.of([second, first, second], torch.device("cpu"))
    assert rows.pairs == (second, first) and rows.rows.tolist() == [0, 1, 0] and unused not in rows.pairs
