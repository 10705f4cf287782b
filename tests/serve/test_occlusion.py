"""Which parts of a picture an answer rests on."""

import numpy as np
import pytest
import torch
from PIL import Image

from dept_vl.serve.likely import likely_answers, log_probability
from dept_vl.serve.occlusion import MOST, cover, grid_boxes, occlusion
from dept_vl.serve.rows import plan_rows

QUESTION = "what color is the circle ?"


def asked(model, picture):
    return plan_rows("vqa", [picture], [QUESTION], ["default"], model.adapters)[0]


@pytest.mark.parametrize(("size", "grid", "wanted"), [
    ((96, 96), (3, 3), (3, 3)), ((50, 37), (4, 6), (4, 6)), ((200, 300), (24, 24), (MOST, MOST)),
    ((5, 2), (7, 7), (2, 5)),
])  # fmt: skip
def test_the_parts_cover_every_pixel_once(size, grid, wanted):
    boxes = grid_boxes(size, grid)
    assert (len(boxes), len(boxes[0])) == wanted
    seen = np.zeros((size[1], size[0]), dtype=int)
    for left, top, right, bottom in sum(boxes, []):
        seen[top:bottom, left:right] += 1
    assert (seen == 1).all()
    assert boxes[0][-1][1] == 0 and boxes[-1][0][0] == 0  # rows from the top, columns from the left


def test_a_covered_part_has_the_median_color_and_nothing_else_changes():
    picture = Image.new("RGB", (30, 30), (38, 40, 48))
    picture.paste((214, 39, 40), (0, 0, 10, 10))
    covered = cover(picture, (0, 0, 10, 10))
    assert covered.getcolors() == [(900, (38, 40, 48))]
    assert picture.getpixel((5, 5)) == (214, 39, 40)
    assert cover(picture, (10, 10, 20, 20)).tobytes() == picture.tobytes()


def test_the_drop_is_the_difference_of_two_passes(save, load, pictures):
    model = load(save("dept"))
    row = asked(model, pictures[2])
    answer = likely_answers(model, row)[0].tokens
    drops = occlusion(model, row, answer)
    boxes = grid_boxes(pictures[2].size, model.tower.grid_shape)
    assert drops.shape == (len(boxes), len(boxes[0])) == model.tower.grid_shape == (4, 4)

    def nats(picture):
        return float(log_probability(model.network, model.read([asked(model, picture)]), answer)[0])

    for place, line in enumerate(boxes):
        for column, box in enumerate(line):
            wanted = nats(pictures[2]) - nats(cover(pictures[2], box))
            assert float(drops[place, column]) == pytest.approx(wanted, abs=1e-3)


def test_only_the_part_with_the_thing_in_it_matters(save, load):
    """On an empty ground all other parts look covered already."""
    model = load(save("dept"))
    for place, column in ((0, 0), (1, 3), (3, 2)):
        picture = Image.new("RGB", (64, 64), (38, 40, 48))
        picture.paste((240, 210, 40), (column * 16 + 3, place * 16 + 3, column * 16 + 13, place * 16 + 13))
        row = asked(model, picture)
        drops = occlusion(model, row, likely_answers(model, row)[0].tokens)
        other = torch.ones_like(drops, dtype=torch.bool)
        other[place, column] = False
        assert drops[other].abs().max() < 1e-3 < drops[place, column].abs()
