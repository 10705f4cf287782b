"""Row files in a folder laid out as configs/, and results as a run writes them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dept_vl.config import Experiment
from dept_vl.reproduction import Row, load_row
from dept_vl.run import resolve

CONTENT = {
    "paper": "dept",
    "table": 1,
    "method": "pt",
    "protocol": "as_published",
    "base": ["backbones/small.yaml"],
    "experiment": {
        "max_steps": 30,
        "adapter": {"name": "pt", "num_virtual_tokens": 3},
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
    base.parent.mkdir()
    base.write_text("backbone: {model_name_or_path: tiny-t5, dropout: true}\noptim: {eps: 1.0e-7}\n")

    def write_row(name: str = "table1_pt", **changes: Any) -> Path:
        path = tmp_path / "paper" / "dept" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {key: value for key, value in {**CONTENT, **changes}.items() if value is not None}
        path.write_text(yaml.safe_dump(content))
        return path

    return write_row


@pytest.fixture
def row(write_row: Callable[..., Path], tmp_path: Path) -> Callable[..., Row]:
    """row(name, **changes): the same, loaded."""
    return lambda name="table1_pt", **changes: load_row(write_row(name, **changes), tmp_path)


@pytest.fixture
def fake_run() -> Callable[[Experiment], None]:
    """A run that trains nothing and scores half; `configs` lists what it was asked to run."""

    def fake_run(config: Experiment) -> None:
        fake_run.configs.append(config)
        folder = Path(config.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        names = ("accuracy", "f1", "f1_macro", "matthews_correlation", "exact_match", "pearson", "rougeL")
        scores = dict.fromkeys(names, 0.5 + 0.01 * (config.seed - 42)) | {"warnings": ["a constant predictor"]}
        results = {"metrics": {"test": scores}, "run_info": {"train_config": resolve(config).to_dict()}}
        (folder / "results.json").write_text(json.dumps(results))

    fake_run.configs = []
    return fake_run
