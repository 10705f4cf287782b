"""Two small studies, and a run that trains nothing but leaves what a run leaves."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dept_vl.config import Experiment
from dept_vl.studies.files import Study, load_studies
from dept_vl.studies.outcomes import Done, read_outcomes
from dept_vl.studies.plan import make_plan

BASE = "max_steps: 40\neval_steps: 10\nlogging_steps: 10\nadapter: {name: pt, num_virtual_tokens: 4}\n"
FIRST = """
paper: dept
shows: [figure 5, table 8]
title: First
published: something
base: [base.yaml]
tasks: [shapes-qnli, shapes-squad]
cells:
  - {name: short, at: 4, series: PT}
  - {name: long, at: 8, series: PT, settings: {adapter: {num_virtual_tokens: 8}}}
claims:
  - {name: long wins, published: 2 against 1, first: [long], second: [short]}
  - {name: never told, published: bigger, kind: cannot, why: one model}
plots:
  - {kind: bars, title: Bars, y: [score], y_labels: [score]}
note: A note.
"""
SECOND = """
paper: ours
title: Second
published: nothing
base: [base.yaml]
tasks: [shapes-rte]
seeds: [1]
draws: [0, 1, 2]
experiment: {task: {k_shot: 2}}
cells:
  - {name: source, same_as: first/short, tasks: [shapes-qnli], draws: [0]}
  - {name: scratch, at: 4}
  - {name: carried, at: 4, init_from: source}
plots:
  - {kind: line, title: Line, y: [score], y_labels: [score]}
"""
CONTENTS = """
papers:
  dept: [{name: figure 5, what: rates}, {name: table 9, what: sets, here: nothing to run}, {name: figure 2, what: else}]
missing: {a GPU: there is none}
"""


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    """A folder configs with the studies first and second."""
    folder = tmp_path / "configs"
    (folder / "studies").mkdir(parents=True)
    (folder / "paper" / "dept").mkdir(parents=True)
    (folder / "base.yaml").write_text(BASE)
    for name, text in (("first", FIRST), ("second", SECOND), ("contents", CONTENTS)):
        (folder / "studies" / f"{name}.yaml").write_text(text)
    return folder


@pytest.fixture
def studies(configs: Path) -> dict[str, Study]:
    return load_studies(configs / "studies")


def points_of(config: Experiment) -> float:
    """What `leave_run` scores: 10 points for each seed and 1 for each prompt token."""
    return (10 * config.seed + config.adapter.num_virtual_tokens) / 100


def leave_run(config: Experiment, score: Callable[[Experiment], float] = points_of, **info: object) -> None:
    """results.json and metrics.jsonl as a run of `config` would leave them."""
    folder = Path(config.output_dir)
    folder.mkdir(parents=True)
    steps, found = config.max_steps, score(config)
    every = range(config.eval_steps, steps + 1, config.eval_steps)
    results = {
        "metrics": {"test": {"accuracy": found}},
        "selection": {"reported": "accuracy", "metric": "accuracy"},
        "weights": {"trained": 100 * config.adapter.num_virtual_tokens, "by_group": {"projection": 50}},
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


@pytest.fixture
def done(studies: dict[str, Study], tmp_path: Path) -> Done:
    """The first study with all its runs."""
    plan = make_plan([studies["first"]], tmp_path / "runs")
    for run in plan.runs.values():
        leave_run(run.config)
    costs = {"short": {"train_ms": [10.0, 12.0, 11.0], "eval_ms": [1.0], "memory_mb": [3.0]}}
    costs["long"] = {"train_ms": [20.0, 24.0, 22.0], "eval_ms": [2.0], "memory_mb": [6.0]}
    return read_outcomes(studies["first"], plan, costs)


@pytest.fixture
def threads() -> Callable[[int], ThreadPoolExecutor]:
    """In place of new processes."""
    return ThreadPoolExecutor
