"""Two small plans, and a run that trains nothing but leaves what a run leaves."""

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from dept_vl.plans.load import load_plan, load_plans
from dept_vl.plans.runs import make_schedule
from dept_vl.plans.schema import PlanFile
from dept_vl.plans.table import Table, read_table
from tests.plans.fake_runs import leave_run

BASE = "max_steps: 40\neval_steps: 10\nlogging_steps: 10\nadapter: {name: pt, args: {num_virtual_tokens: 4}}\n"
FIRST = """
paper: dept
shows: [figure 5, table 8]
title: First
published: something
base: [../base.yaml]
tasks: [shapes-qnli, shapes-squad]
seeds: [1, 2, 3]
cells:
  - {name: short, at: 4, series: PT}
  - {name: long, at: 8, series: PT, settings: {adapter: {args: {num_virtual_tokens: 8}}}}
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
base: [../base.yaml]
tasks: [shapes-rte]
seeds: [1]
draws: [0, 1, 2]
experiment: {task: {k_shot: 2}}
cells:
  - {name: source, same_as: first/short, tasks: [shapes-qnli], draws: [0]}
  - {name: scratch, at: 4}
  - {name: carried, at: 4, needs: source}
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
    """A folder configs with the plans first and second."""
    folder = tmp_path / "configs"
    (folder / "plans").mkdir(parents=True)
    (folder / "paper" / "dept").mkdir(parents=True)
    (folder / "base.yaml").write_text(BASE)
    for name, text in (("plans/first", FIRST), ("plans/second", SECOND), ("paper/contents", CONTENTS)):
        (folder / f"{name}.yaml").write_text(text)
    return folder


@pytest.fixture
def plans(configs: Path) -> dict[str, PlanFile]:
    return load_plans(configs / "plans")


@pytest.fixture
def done(plans: dict[str, PlanFile], tmp_path: Path) -> Table:
    """The first plan with all its runs."""
    schedule = make_schedule([plans["first"]], tmp_path / "runs")
    for run in schedule.runs.values():
        leave_run(run.config)
    costs = {"short": {"train_ms": [10.0, 12.0, 11.0], "eval_ms": [1.0], "memory_mb": [3.0]}}
    costs["long"] = {"train_ms": [20.0, 24.0, 22.0], "eval_ms": [2.0], "memory_mb": [6.0]}
    return dataclasses.replace(read_table(plans["first"], schedule, tmp_path / "runs"), costs=costs)


@pytest.fixture
def threads() -> Callable[[int], ThreadPoolExecutor]:
    """In place of new processes."""
    return ThreadPoolExecutor


ROW = {
    "paper": "dept",
    "table": 1,
    "method": "pt",
    "protocol": "as_published",
    "base": ["../../backbones/small.yaml"],
    "experiment": {
        "max_steps": 30,
        "adapter": {"name": "pt", "args": {"num_virtual_tokens": 3}},
        "optim": {"lr": {"prompt": 0.3}, "warmup_steps": 5},
    },
    "cells": [
        {"task": "cola", "published": {"matthews_correlation": 63.8}, "items": 522},
        {
            "task": "superglue-cb",
            "published": {"accuracy": 92.9},
            "logged": {"accuracy": 92.86},
            "items": 28,
            "settings": {"max_steps": 40, "optim": {"lr": {"prompt": 0.4}}, "metric_for_best_model": "f1_macro"},
        },
    ],
    "means": [{"name": "both", "tasks": ["cola", "superglue-cb"], "published": 78.3}],
}


@pytest.fixture
def write_row(tmp_path: Path) -> Callable[..., Path]:
    """write_row(name, **changes): the file of a small row with these keys changed; None leaves a key out."""
    base = tmp_path / "backbones" / "small.yaml"
    base.parent.mkdir(exist_ok=True)
    base.write_text("backbone: {model_name_or_path: tiny-t5, dropout: true}\noptim: {eps: 1.0e-7}\n")

    def write_row(name: str = "table1_pt", **changes: Any) -> Path:
        path = tmp_path / "paper" / "dept" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {key: value for key, value in {**ROW, **changes}.items() if value is not None}
        path.write_text(yaml.safe_dump(content))
        return path

    return write_row


@pytest.fixture
def row(write_row: Callable[..., Path], tmp_path: Path) -> Callable[..., PlanFile]:
    """row(name, **changes): the same, loaded."""
    return lambda name="table1_pt", **changes: load_plan(write_row(name, **changes))
