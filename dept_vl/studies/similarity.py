"""How alike the prompts of two settings are: the cosine of the folded prompts, row by row, for runs of one seed."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dept_vl.checkpoint import read_any
from dept_vl.studies.outcomes import Done


def cosine(first: Float[Tensor, "prompt d_model"], second: Float[Tensor, "prompt d_model"]) -> float:
    """The mean over positions."""
    return float(F.cosine_similarity(first, second, dim=1).mean())


def similarities(done: Done, cells: Sequence[str], task: str) -> dict[tuple[str, str], list[float]]:
    """By pair of cells: a cosine for each seed that both have. Prompts of one seed start from the same rows, so beside
    it stands, as the pair of a cell with itself, what prompts of two seeds of that cell have in common."""
    prompts = {cell: {each.place.seed: _prompt(each.folder) for each in done.of(cell, task)} for cell in cells}
    found: dict[tuple[str, str], list[float]] = {}
    for a, b in itertools.product(cells, repeat=2):
        if a == b:
            pairs = list(itertools.combinations(prompts[a].values(), 2))
        else:
            pairs = [(prompts[a][seed], prompts[b][seed]) for seed in prompts[a] if seed in prompts[b]]
        found[a, b] = [cosine(x, y) for x, y in pairs if x.shape == y.shape]
    return found


def _prompt(folder: Path) -> Float[Tensor, "prompt d_model"]:
    return read_any(folder).adapter.fold().prompt.float()
