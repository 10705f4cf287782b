import pytest

from dept_vl.adapters import budget, dept_size
from dept_vl.adapters.budget import NoBudgetLeft


@pytest.mark.parametrize(
    "d_model, max_length, ranks",
    [
        (768, 256, [75, 60, 45, 30, 15]),
        (768, 512, [60, 48, 36, 24, 12]),
        (1024, 256, [80, 64, 48, 32, 16]),
    ],
)
def test_ranks_of_the_paper_use_the_budget_exactly(d_model, max_length, ranks):
    for num_virtual_tokens, r in zip([0, 20, 40, 60, 80], ranks, strict=True):
        sizes = {"d_model": d_model, "max_length": max_length}
        assert budget(100, num_virtual_tokens=num_virtual_tokens, **sizes) == r
        assert dept_size(num_virtual_tokens=num_virtual_tokens, r=r, **sizes) == 100 * d_model


@pytest.mark.parametrize("num_virtual_tokens, r", [(0, 66), (20, 53), (40, 40), (60, 26), (80, 13)])
def test_an_uneven_division_stays_within_the_budget(num_virtual_tokens, r):
    sizes = {"d_model": 512, "max_length": 256, "num_virtual_tokens": num_virtual_tokens}
    assert budget(**sizes) == r
    assert dept_size(r=r, **sizes) <= 51_200 < dept_size(r=r + 1, **sizes)


@pytest.mark.parametrize("num_virtual_tokens", [100, 120, 99, -1])
def test_no_room_for_rank_1_is_an_error(num_virtual_tokens):
    message = rf"wanted 0 <= num_virtual_tokens < l=100 .* given num_virtual_tokens={num_virtual_tokens}, "
    with pytest.raises(NoBudgetLeft, match=message):
        budget(100, d_model=768, max_length=256, num_virtual_tokens=num_virtual_tokens)
