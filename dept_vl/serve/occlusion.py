"""Occlusion: which parts of a picture an answer rests on. Zeiler and Fergus, ECCV 2014, arXiv:1311.2901.

    drop[part] = log P(answer | picture) - log P(answer | picture with that part covered)        nats

The parts are those of the tower's grid of patches; a grid finer than `MOST` a side is cut into `MOST`. A covered part
has the picture's median colour, in Shapes that of the ground. Pixels are covered and not features: through the tower's
layers a patch's features hold much of its neighbours.
"""

import dataclasses

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from dept_vl.serve.adapted import BATCH_SIZE, AdaptedModel
from dept_vl.serve.likely import Tokens, log_probability
from dept_vl.serve.rows import Row

MOST = 8
"""Parts a side: 65 passes of the tower and the language model."""
WITHOUT_GRID = (6, 6)  # of a tower that joins several grids

Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels


def occlusion(model: AdaptedModel, row: Row, answer: Tokens) -> Float[Tensor, "rows columns"]:
    """How many nats of log P(answer) each part of the row's picture is worth. The picture is a PIL one.

    Raises: UnsupportedPicture.
    """
    boxes = grid_boxes(row.picture.size, model.tower.grid_shape or WITHOUT_GRID)
    covered = [cover(row.picture, box) for line in boxes for box in line]
    rows = [dataclasses.replace(row, place=place, picture=each) for place, each in enumerate([row.picture, *covered])]
    nats = []
    for start in range(0, len(rows), BATCH_SIZE):
        batch = model.read(rows[start : start + BATCH_SIZE])
        nats.append(log_probability(model.network, batch, answer))
    whole, *parts = torch.cat(nats).cpu()
    return (whole - torch.stack(parts)).reshape(len(boxes), len(boxes[0]))


def grid_boxes(size: tuple[int, int], grid: tuple[int, int]) -> list[list[Box]]:
    """The parts of a picture of that width and height, row by row."""
    rows, columns = (min(number, MOST, side) for number, side in zip(grid, reversed(size), strict=True))
    across = np.linspace(0, size[0], columns + 1).round().astype(int).tolist()
    down = np.linspace(0, size[1], rows + 1).round().astype(int).tolist()
    return [
        [(left, top, right, bottom) for left, right in zip(across[:-1], across[1:], strict=True)]
        for top, bottom in zip(down[:-1], down[1:], strict=True)
    ]


def cover(picture: Image.Image, box: Box) -> Image.Image:
    """A copy whose pixels in the box have the median colour of the whole."""
    picture = picture.convert("RGB")
    color = np.median(np.asarray(picture).reshape(-1, 3), axis=0).astype(int).tolist()
    picture.paste(tuple(color), box)
    return picture
