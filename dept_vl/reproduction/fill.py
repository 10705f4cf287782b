"""Runs the cells of a row and tells each score beside the published one."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dept_vl.config import Experiment
from dept_vl.reproduction.cells import run_cell
from dept_vl.reproduction.compare import compare, means
from dept_vl.reproduction.files import Row


def fill(
    row: Row,
    *,
    run: Callable[[Experiment], Any],
    say: Callable[[str], None],
    output_dir: Path,
    seeds: Sequence[int] = (),
    flags: Sequence[str] = (),
) -> dict[str, float]:
    """Our score of each cell and mean by its label. Raises: as `run_cell`."""
    say(f"\n{row.paper}/{row.path.name}{' with ' + ' '.join(flags) if flags else ''}")
    scores = {}
    for cell in row.cells:
        done = list(run_cell(row, cell, run=run, output_dir=output_dir, seeds=seeds, flags=flags))
        lines = compare(cell, [results for _, results in done])
        scores[cell.label] = lines[0].ours
        warnings = [f"  {path.name}: {each}" for path, got in done for each in got["metrics"]["test"]["warnings"]]
        say("\n".join([*(line.line() for line in lines), *warnings]))
    for mean in means(row, scores):
        scores[mean.label] = mean.ours
        say(mean.line())
    return scores
