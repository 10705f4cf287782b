"""What becomes of a tower's grids before they are stored: pooled, or 2 x 2 cells stacked, and several layers joined.

None of these has a weight, and all come before the first trained layer: they are applied once, at
extraction.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

POOLINGS = ("none", "max", "avg", "stack")
JOINED = ("width", "tokens")
_SIZED = ("max", "avg")


def check_pooling(pooling: str, pool_size: int | None) -> None:
    """Raises ValueError unless the two belong together; needs no model."""
    if pooling not in POOLINGS:
        raise ValueError(f"pooling: wanted one of {', '.join(POOLINGS)}, given {pooling!r}")
    if pooling in _SIZED and (pool_size is None or pool_size < 1):
        raise ValueError(f"pooling {pooling!r}: wanted pool_size >= 1 (6 gives 36 patches), given {pool_size}")
    if pooling not in _SIZED and pool_size is not None:
        raise ValueError(f"pooling {pooling!r}: wanted no pool_size (it is for 'max' and 'avg'), given {pool_size}")


def check_joined(joined: str) -> None:
    """Raises: ValueError."""
    if joined not in JOINED:
        raise ValueError(f"joined: wanted one of {', '.join(JOINED)}, given {joined!r}")


def pool_grid(
    grid: Float[Tensor, "batch width rows columns"], pooling: str, pool_size: int | None
) -> Float[Tensor, "batch pooled_width pooled_rows pooled_columns"]:
    """Pool a grid of features.

    "none": as it is. "max" and "avg": adaptive pooling to pool_size x pool_size (max from 7 to 6 is exactly kernel 2,
    stride 1: the CLIP-T5 recipe's 36 tokens). "stack": space to depth, as InternVL's pixel unshuffle
    (arXiv:2404.16821): each 2 x 2 block becomes one patch of four times the width that holds its cells
    one after the other, row by row.

    Raises:
        ValueError: a grid smaller than pool_size, or one with an odd side for "stack".
    """
    check_pooling(pooling, pool_size)
    batch, width, rows, columns = grid.shape
    if pooling in _SIZED:
        if pool_size > min(rows, columns):
            raise ValueError(
                f"pooling {pooling!r}: wanted pool_size <= {min(rows, columns)}, as the tower's grid is {rows} x "
                f"{columns} and more would only repeat patches, given {pool_size}"
            )
        return (F.adaptive_max_pool2d if pooling == "max" else F.adaptive_avg_pool2d)(grid, pool_size)
    if pooling == "stack":
        if rows % 2 or columns % 2:
            raise ValueError(f"pooling 'stack': wanted a grid with even sides, given {rows} x {columns}")
        blocks = grid.reshape(batch, width, rows // 2, 2, columns // 2, 2)
        cells = blocks.permute(0, 3, 5, 1, 2, 4)  # [batch, 2, 2, width, rows / 2, columns / 2]
        return cells.reshape(batch, 4 * width, rows // 2, columns // 2)
    return grid


def join_grids(
    grids: list[Float[Tensor, "batch _width _rows _columns"]], joined: str
) -> Float[Tensor, "batch patch joined_width"]:
    """Patches in row-major order, of one grid or of several.

    "width": the features of all grids stand in one patch, one after the other. "tokens": the patches of one grid
    follow those of the other, each grid in columns of its own with zeros in the others', so that one linear
    projection holds a map for each of them.

    Raises: ValueError for "width" and grids of different rows or columns.
    """
    sizes = [tuple(grid.shape[2:]) for grid in grids]
    if joined == "width" and len(set(sizes)) > 1:
        given = ", ".join(f"{rows} x {columns}" for rows, columns in sizes)
        raise ValueError(f"joined 'width': wanted grids of one size, given {given}: pool them, or join them by tokens")
    patches = [grid.flatten(2).transpose(1, 2) for grid in grids]  # [batch, patch, width] each
    if len(patches) == 1 or joined == "width":
        return torch.cat(patches, dim=2).contiguous()
    width, start, rows = sum(each.shape[2] for each in patches), 0, []
    for each in patches:
        rows.append(F.pad(each, (start, width - start - each.shape[2])))
        start += each.shape[2]
    return torch.cat(rows, dim=1).contiguous()
