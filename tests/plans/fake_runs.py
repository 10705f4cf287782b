"""Runs that train nothing: scores by rule, results.json as a real run writes it, and who began them."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from dept_vl.config import Experiment
from dept_vl.plans.load import Changes, complete
from dept_vl.plans.pool import run_all
from dept_vl.plans.runs import Schedule, make_schedule
from dept_vl.plans.schema import BEST, PlanFile
from dept_vl.untrusted.folder_lock import only_run


def points_of(config: Experiment) -> float:
    """What `leave_run` scores: 10 points for each seed and 1 for each prompt token."""
    return (10 * config.seed + tokens(config)) / 100


def tokens(config: Experiment) -> int:
    return config.adapter.args.get("num_virtual_tokens", 0)


def leave_run(
    config: Experiment,
    score: Callable[[Experiment], float] = points_of,
    val: Callable[[Experiment], float | None] | None = None,
    **info: object,
) -> None:
    """results.json and metrics.jsonl as a run of `config` would leave them; val: the best validation score, the test's
    unless given."""
    folder = Path(config.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    steps, found, best = config.max_steps, score(config), (val or score)(config)
    every = range(config.eval_steps, steps + 1, config.eval_steps) if config.eval_steps else ()
    results = {
        "metrics": {"test": {"accuracy": found}} | ({} if best is None else {"val": {"accuracy": best}}),
        "selection": {"reported": "accuracy", "metric": "accuracy"},
        "weights": {"trained": 100 * tokens(config), "by_group": {"projection": 50}},
        "run_info": {"train_config": config.to_dict()},
        "train_info": {
            "train_time": float(steps),
            "flops": 1000 * steps,
            "flops_full": 1000 * steps,
            "scoring_flops": 0,
            "stages": [],
            "metrics": [{"step": step, "accuracy": found * step / steps} for step in every],
            **info,
        },
    }
    lines = [{"step": step, "seconds": float(step), "loss": 1 / step} for step in every]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "results.json").write_text(json.dumps(results))


def grid_of(config: Experiment, root: Path, **axes: list) -> tuple[PlanFile, Schedule]:
    """A plan around an experiment; a double underscore in an axis is a dot."""
    files = json.loads(json.dumps(config.to_dict()))
    crossed = {name.replace("__", "."): values for name, values in axes.items()}
    plan = complete(PlanFile(Path("grid"), pick=BEST), Changes(files=files, grid=crossed))
    return plan, make_schedule([plan], root)


def grid(root: Path, seeds: tuple[int, ...] = (1, 2, 3)) -> tuple[PlanFile, Schedule]:
    """Two cells and three seeds."""
    files = {"eval_steps": 5, "max_steps": 10, "task": {"name": "shapes-rte"}}
    plan = complete(
        PlanFile(Path("grid"), pick=BEST), Changes(files=files, grid={"optim.lr.prompt": [0.1, 0.2]}, seeds=seeds)
    )
    return plan, make_schedule([plan], root)


def share_slowly(root: Path, seconds: float) -> None:
    """One of several commands: each run takes so long, under the lock of its folder."""

    def work(config: Experiment) -> None:
        folder = Path(config.output_dir)
        with only_run(folder):
            if not (folder / "results.json").exists():
                with (root / "began.txt").open("a") as notes:
                    notes.write(f"{folder.name} {os.getpid()}\n")
                time.sleep(seconds)
                leave_run(config)

    assert run_all(grid(root)[1].runs, jobs=1, say=lambda line: None, work=work) == {}


def began(root: Path) -> list[list[str]]:
    """[run, process] of each begin."""
    path = root / "began.txt"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []
