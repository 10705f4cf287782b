import pytest
import torch
import torch.nn.functional as F

from dept_vl.vision.pooling import check_joined, join_grids, pool_grid


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
        ("mean", None, "pooling: wanted one of none, max, avg, stack, given 'mean'"),
        ("max", None, "wanted pool_size >= 1 .* given None"),
        ("max", 0, "wanted pool_size >= 1 .* given 0"),
        ("max", 4, "wanted pool_size <= 3, as the tower's grid is 3 x 5 .* given 4"),
        ("stack", 2, "pooling 'stack': wanted no pool_size .* given 2"),
        ("avg", 4, "pooling 'avg': wanted pool_size <= 3, .* given 4"),
        ("avg", None, "pooling 'avg': wanted pool_size >= 1 .* given None"),
        ("stack", None, "pooling 'stack': wanted a grid with even sides, given 3 x 5"),
    ],
)
def test_impossible_poolings_are_refused(pooling, pool_size, message):
    with pytest.raises(ValueError, match=message):
        pool_grid(torch.randn(1, 2, 3, 5), pooling, pool_size)


def test_averages_of_equal_parts_are_plain_means():
    grid = torch.randn(2, 5, 8, 4)
    wanted = grid.unflatten(2, (2, 4)).unflatten(4, (2, 2)).mean(dim=(3, 5))
    torch.testing.assert_close(pool_grid(grid, "avg", 2), wanted)


def test_grids_join_by_width_patch_by_patch():
    first, second = torch.randn(2, 3, 2, 4), torch.randn(2, 5, 2, 4)
    joined = join_grids([first, second], "width")
    assert joined.shape == (2, 8, 8)
    assert torch.equal(joined[0, 4 + 1], torch.cat([first[0, :, 1, 1], second[0, :, 1, 1]]))


def test_grids_join_by_tokens_in_columns_of_their_own():
    first, second = torch.randn(2, 3, 2, 2), torch.randn(2, 5, 1, 3)
    joined = join_grids([first, second], "tokens")
    assert joined.shape == (2, 4 + 3, 3 + 5)
    assert torch.equal(joined[1, 2], torch.cat([first[1, :, 1, 0], torch.zeros(5)]))
    assert torch.equal(joined[1, 6], torch.cat([torch.zeros(3), second[1, :, 0, 2]]))


def test_grids_that_cannot_join_are_refused():
    with pytest.raises(ValueError, match="wanted grids of one size, given 2 x 2, 1 x 4"):
        join_grids([torch.randn(1, 3, 2, 2), torch.randn(1, 3, 1, 4)], "width")
    with pytest.raises(ValueError, match="joined: wanted one of width, tokens, given 'sum'"):
        check_joined("sum")
