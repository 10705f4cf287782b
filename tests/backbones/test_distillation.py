"""The distance of a student's reading from its teacher's: its value, and what it does not see."""

import pytest
import torch

from dept_vl.backbones import distance
from dept_vl.backbones.frozen import States

LABELS = torch.tensor([[5, 6, 1], [7, 1, -100]])


def states(seed: int) -> States:
    generator = torch.Generator().manual_seed(seed)
    logits, encoder, decoder = (torch.randn(*size, generator=generator) for size in ((2, 3, 9), (2, 4, 8), (2, 3, 8)))
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    return States(logits, ((encoder, mask), (decoder, LABELS != -100)))


def test_it_is_the_divergence_and_the_mean_squares_over_what_is_real():
    student, teacher = states(1), states(2)
    wanted = []
    for row, (columns, targets) in enumerate([(4, 3), (2, 2)]):
        given, own = (each.logits[row, :targets].softmax(-1) for each in (teacher, student))
        nats = (given * (given.log() - own.log())).sum(-1).mean()
        squares = [
            (first[row, :real] - second[row, :real]).square().mean()
            for (first, _), (second, _), real in zip(student.hidden, teacher.hidden, (columns, targets), strict=True)
        ]
        wanted.append(nats + sum(squares))
    torch.testing.assert_close(distance(student, teacher, LABELS), torch.stack(wanted))


def test_it_is_zero_for_the_teacher_itself_and_above_zero_for_others():
    assert torch.equal(distance(states(1), states(1), LABELS), torch.zeros(2))
    assert (distance(states(1), states(2), LABELS) > 0).all()


def test_pads_say_nothing():
    student, teacher = states(1), states(2)
    before = distance(student, teacher, LABELS)
    for each, columns in ((student.logits, 2), (student.hidden[0][0], 2), (student.hidden[1][0], 2)):
        each[1, columns:] += 100
    assert torch.equal(distance(student, teacher, LABELS), before)


def test_a_row_without_a_target_is_refused():
    with pytest.raises(ValueError, match="wanted at least one target token in every row, given none in 1"):
        distance(states(1), states(2), torch.tensor([[5, 6, 1], [-100, -100, -100]]))
