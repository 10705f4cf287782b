import pytest
import torch
import torch.nn.functional as F

from dept_vl.vision.pooling import pool_grid


def test_seven_to_six_is_max_pooling_with_kernel_two_and_stride_one():
    grid = torch.randn(2, 5, 7, 7)
    assert torch.equal(pool_grid(grid, "max", 6), F.max_pool2d(grid, kernel_size=2, stride=1))


def test_stacking_keeps_the_four_neighbours_of_a_cell_row_by_row():
    # One feature per cell: 10 * row + column.
    grid = (10 * torch.arange(4.0)[:, None] + torch.arange(6.0)[None, :])[None, None]
    stacked = pool_grid(grid, "stack", None).flatten(2).transpose(1, 2)[0]
    assert stacked[0].tolist() == [0, 1, 10, 11]
    assert stacked[1].tolist() == [2, 3, 12, 13]
    assert stacked[3].tolist() == [20, 21, 30, 31]


def test_stacking_keeps_the_features_of_a_cell_together():
    grid = torch.randn(2, 256, 6, 6)
    stacked = pool_grid(grid, "stack", None)
    assert stacked.shape == (2, 1024, 3, 3)
    assert torch.equal(stacked[:, 256:512, 1, 2], grid[:, :, 2, 5])


def test_no_pooling_changes_nothing():
    grid = torch.randn(2, 5, 3, 4)
    assert pool_grid(grid, "none", None) is grid


@pytest.mark.parametrize(
    "pooling, pool_size, message",
    [
        ("mean", None, "pooling: wanted one of none, max, stack, given 'mean'"),
        ("max", None, "wanted pool_size >= 1 .* given None"),
        ("max", 0, "wanted pool_size >= 1 .* given 0"),
        ("max", 4, "wanted pool_size <= 3, as the tower's grid is 3 x 5 .* given 4"),
        ("stack", 2, "pooling 'stack': wanted no pool_size .* given 2"),
        ("stack", None, "pooling 'stack': wanted a grid with even sides, given 3 x 5"),
    ],
)
def test_impossible_poolings_are_refused(pooling, pool_size, message):
    with pytest.raises(ValueError, match=message):
        pool_grid(torch.randn(1, 2, 3, 5), pooling, pool_size)
