"""Cosines of prompts: known values, and which runs are paired."""

import pytest
import torch

from dept_vl.plans import similarity
from dept_vl.plans.similarity import cosine, similarities


def test_a_cosine_is_the_mean_over_positions():
    a = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    b = torch.tensor([[3.0, 0.0], [5.0, 0.0]])
    assert cosine(a, a) == pytest.approx(1.0)
    assert cosine(a, b) == pytest.approx(0.5)
    assert cosine(a, -a) == pytest.approx(-1.0)


def test_settings_are_paired_by_seed_and_a_setting_with_itself_across_seeds(done, monkeypatch):
    """A prompt of seed s points along axis s, whatever its setting."""

    def prompt(folder):
        outcome = next(each for each in done.outcomes if each.folder == folder)
        return torch.eye(4)[outcome.place.seed].unsqueeze(0)

    monkeypatch.setattr(similarity, "_prompt", prompt)
    cells = ("short", "long")
    found = similarities(
        {cell: {each.place.seed: each.folder for each in done.of(cell, "shapes-qnli")} for cell in cells}
    )
    assert found["short", "long"] == found["long", "short"] == pytest.approx([1.0, 1.0, 1.0])
    assert found["short", "short"] == pytest.approx([0.0, 0.0, 0.0])
