"""What a trained adapter came to: ranks, singular values and row norms of its prompt and its shift.

Everything is read from the folded pair, so every adapter has it, ours or one of others. The shift counts over the rows
that training reached; later rows are zero.
"""

import dataclasses
import json
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from dept_vl.saved import read_any


class BadLog(ValueError):
    """A metrics.jsonl that is not what a run writes."""


@dataclasses.dataclass(frozen=True)
class MatrixFacts:
    """singular_values: the greatest first. row_norms: Euclidean, by position. common_share: see `common_share`."""

    rows: int
    columns: int
    numerical_rank: int
    effective_rank: float
    common_share: float | None
    singular_values: tuple[float, ...]
    row_norms: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class RankAnalysis:
    """prompt, shift: None where the adapter has no such rows. course: {"step", and the adapter's `diagnostics`} of
    each log line that has them; empty for a folder without a log. The matrices are those of the run's best step, the
    course goes on to the last."""

    folder: str
    adapter: str
    prompt: MatrixFacts | None
    shift: MatrixFacts | None
    course: tuple[dict[str, float | int], ...]


def analyse_rank(folder: Path | str) -> RankAnalysis:
    """Of a run folder or an adapter folder. Raises: BadAdapterFolder, BadLog."""
    folder = Path(folder)
    saved = read_any(folder)
    described, folded = saved.config["parts"]["adapter"], saved.adapter.fold()
    prompt = shift = None
    if folded is not None:
        prompt = _facts(folded.prompt)
        shift = None if folded.shift is None else _facts(folded.shift[: described["state"].get("trained_length")])
    return RankAnalysis(str(folder), described["name"], prompt, shift, read_course(folder))


def matrix_facts(matrix: Float[Tensor, "rows columns"]) -> MatrixFacts:
    values = singular_values(matrix)
    return MatrixFacts(
        rows=matrix.shape[0],
        columns=matrix.shape[1],
        numerical_rank=int(torch.linalg.matrix_rank(matrix)),
        effective_rank=effective_rank(values),
        common_share=common_share(matrix),
        singular_values=tuple(values.tolist()),
        row_norms=tuple(matrix.double().norm(dim=1).tolist()),
    )


def singular_values(matrix: Float[Tensor, "rows columns"]) -> Float[Tensor, " values"]:
    """In double precision, the greatest first."""
    return torch.linalg.svdvals(matrix.double())


def effective_rank(values: Float[Tensor, " values"]) -> float:
    """exp of the entropy (in nats) of singular values divided by their sum. Roy and Vetterli, EUSIPCO 2007.

    From 1 for a single direction to the number of values where all are equal; 0 for a matrix of zeros.
    """
    total = values.sum()
    if not total > 0:
        return 0.0
    shares = values / total
    return float(torch.special.entr(shares).sum().exp())


def common_share(matrix: Float[Tensor, "rows columns"]) -> float | None:
    """The part of the squared Frobenius norm that the mean row alone would have at every position:
    rows x |mean row|^2 / |matrix|^2. 1 where all rows are equal, 0 where they sum to zero, None for zeros."""
    matrix = matrix.double()
    whole = matrix.square().sum()
    if not whole > 0:
        return None
    return float(matrix.shape[0] * matrix.mean(dim=0).square().sum() / whole)


def read_course(folder: Path) -> tuple[dict[str, float | int], ...]:
    """The `diagnostics` on the lines of a run's metrics.jsonl, each with its step. Raises: BadLog naming the line."""
    path = folder / "metrics.jsonl"
    if not path.exists():
        return ()
    course = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            if "diagnostics" in row:
                course.append({"step": row["step"], **row["diagnostics"]})
        except (ValueError, KeyError, TypeError) as error:
            raise BadLog(f"{path}, line {number}: wanted a log line with its step, given {line!r:.80}") from error
    return tuple(course)


def _facts(matrix: Float[Tensor, "rows columns"]) -> MatrixFacts | None:
    return matrix_facts(matrix) if len(matrix) else None
