"""Runs that train nothing: scores by rule, results.json as a real run writes it; and what other processes do."""

import functools
import json
import time
from collections.abc import Callable
from pathlib import Path

from dept_vl.config import Experiment, TaskConfig
from dept_vl.sweep import Grid, make_grid, run_sweep
from dept_vl.sweep.processes import FileLock

METRIC = "vqa_accuracy"


def config(**changes) -> Experiment:
    return Experiment(eval_steps=5, task=TaskConfig(**changes.pop("task", {})), **changes)


@functools.cache
def grid(seeds: tuple[int, ...] = (1, 2, 3)) -> Grid:
    """Two cells and three seeds."""
    return make_grid(config(), grid=["optim.lr.prompt=0.1,0.2"], seeds=seeds)


def write_run(
    val: Callable[[Experiment], float | None], test: Callable[[Experiment], float] = lambda config: 0.5
) -> Callable[[Experiment], dict]:
    """A run with these scores, which notes in <study>/began.txt that it began."""

    def run(config: Experiment) -> dict:
        folder = Path(config.output_dir)
        with (folder.parent / "began.txt").open("a") as notes:
            notes.write(folder.name + "\n")
        folder.mkdir(exist_ok=True)
        metrics = {"test": {METRIC: test(config)}, "val": {METRIC: val(config)}}
        results = {"metrics": {name: each for name, each in metrics.items() if each[METRIC] is not None}}
        (folder / "results.json").write_text(json.dumps(results))
        return results

    return run


def began(study: Path) -> list[str]:
    path = study / "began.txt"
    return path.read_text().split() if path.exists() else []


def slow(seconds: float) -> Callable[[Experiment], dict]:
    """The seed is the score; a run takes so long between its beginning and its results."""

    def val(config: Experiment) -> float:
        time.sleep(seconds)
        return config.seed / 10

    return write_run(val)


def sweep_slowly(study: Path, seconds: float) -> None:
    run_sweep(config(), grid(), study, slow(seconds), headline=METRIC)


def hold_lock(path: Path, held: Path) -> None:
    with FileLock(path):
        held.touch()
        time.sleep(60)
