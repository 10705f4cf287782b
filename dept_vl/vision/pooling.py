"""What becomes of a tower's grid before it is stored: kept, max-pooled, or stacked 2 x 2.

None of these has a weight, and all come before the first trained layer: they are applied once, at
extraction.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

POOLINGS = ("none", "max", "stack")


def check_pooling(pooling: str, pool_size: int | None) -> None:
    """Raises ValueError unless the two belong together; needs no model."""
    if pooling not in POOLINGS:
        raise ValueError(f"pooling: wanted one of {', '.join(POOLINGS)}, given {pooling!r}")
    if pooling == "max" and (pool_size is None or pool_size < 1):
        raise ValueError(f"pooling 'max': wanted pool_size >= 1 (6 gives 36 patches), given {pool_size}")
    if pooling != "max" and pool_size is not None:
        raise ValueError(f"pooling {pooling!r}: wanted no pool_size (it is for 'max'), given {pool_size}")


def pool_grid(
    grid: Float[Tensor, "batch width rows columns"], pooling: str, pool_size: int | None
) -> Float[Tensor, "batch pooled_width pooled_rows pooled_columns"]:
    """Pool a grid of features.

    "none": as it is. "max": adaptive max pooling to pool_size x pool_size (7 to 6 is exactly kernel 2,
    stride 1: the CLIP-T5 recipe's 36 tokens). "stack": space to depth, as InternVL's pixel unshuffle
    (arXiv:2404.16821): each 2 x 2 block becomes one patch of four times the width that holds its cells
    one after the other, row by row.

    Raises:
        ValueError: a grid smaller than pool_size, or one with an odd side for "stack".
    """
    check_pooling(pooling, pool_size)
    batch, width, rows, columns = grid.shape
    if pooling == "max":
        if pool_size > min(rows, columns):
            raise ValueError(
                f"pooling 'max': wanted pool_size <= {min(rows, columns)}, as the tower's grid is {rows} x "
                f"{columns} and more would only repeat patches, given {pool_size}"
            )
        return F.adaptive_max_pool2d(grid, pool_size)
    if pooling == "stack":
        if rows % 2 or columns % 2:
            raise ValueError(f"pooling 'stack': wanted a grid with even sides, given {rows} x {columns}")
        blocks = grid.reshape(batch, width, rows // 2, 2, columns // 2, 2)
        cells = blocks.permute(0, 3, 5, 1, 2, 4)  # [batch, 2, 2, width, rows / 2, columns / 2]
        return cells.reshape(batch, 4 * width, rows // 2, columns // 2)
    return grid
