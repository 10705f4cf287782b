"""How alike the prompts of two settings are: the cosine of the folded prompts, row by row, for runs of one seed."""

import itertools
from collections.abc import Mapping
from pathlib import Path

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dept_vl.saved import read_any


def cosine(first: Float[Tensor, "prompt d_model"], second: Float[Tensor, "prompt d_model"]) -> float:
    """The mean over positions."""
    return float(F.cosine_similarity(first, second, dim=1).mean())


def cosine_of(first: Path, second: Path) -> float:
    """Of the prompts in two adapter folders."""
    return cosine(_prompt(first), _prompt(second))


def similarities(folders: Mapping[str, Mapping[int, Path]]) -> dict[tuple[str, str], list[float]]:
    """`folders`: by cell, by seed. By pair of cells: a cosine for each seed that both have.

    Prompts of one seed start from the same rows, so beside it stands, as the pair of a cell with itself, what prompts
    of two seeds of that cell have in common.
    """
    prompts = {cell: {seed: _prompt(path) for seed, path in each.items()} for cell, each in folders.items()}
    found: dict[tuple[str, str], list[float]] = {}
    for a, b in itertools.product(folders, repeat=2):
        if a == b:
            pairs = list(itertools.combinations(prompts[a].values(), 2))
        else:
            pairs = [(prompts[a][seed], prompts[b][seed]) for seed in prompts[a] if seed in prompts[b]]
        found[a, b] = [cosine(x, y) for x, y in pairs if x.shape == y.shape]
    return found


def _prompt(folder: Path) -> Float[Tensor, "prompt d_model"]:
    return read_any(folder).adapter.fold().prompt.float()
