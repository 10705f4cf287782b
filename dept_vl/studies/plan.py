"""From studies to unique runs: two cells with the same settings share a run, in whatever study they stand."""

import dataclasses
import functools
import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from dept_vl.config import Experiment
from dept_vl.config.parse import build_parser, to_experiment
from dept_vl.reproduction.cells import WITHOUT_EFFECT
from dept_vl.reproduction.files import merge
from dept_vl.reproduction.typed import Settings
from dept_vl.run import resolve
from dept_vl.studies.files import BadStudy, Cell, Study

FAST: Settings = {
    "max_steps": 12,
    "eval_steps": 6,
    "save_steps": 0,
    "logging_steps": 3,
    "per_device_train_batch_size": 8,
    "optim": {"warmup_steps": 2},
    "task": {"max_train_samples": 128, "max_eval_samples": 32, "max_test_samples": 48},
    "progressive": {"score_rows": 16},
}
"""Settings of --fast, which shows that everything runs and no more."""
_FAST_SEEDS, _FAST_DRAWS = 1, 1  # how many of each are left


@dataclass(frozen=True)
class Run:
    """One experiment, whose folder is named by what it is. after: the run that it starts from."""

    name: str
    config: Experiment
    after: str | None = None

    @property
    def folder(self) -> Path:
        return Path(self.config.output_dir)


@dataclass(frozen=True)
class Place:
    """Where a run stands in a study."""

    cell: str
    task: str
    seed: int
    draw: int
    run: str


@dataclass(frozen=True)
class Plan:
    """runs: each once, by name, sources before what starts from them. places: of each study, by its name."""

    runs: dict[str, Run]
    places: dict[str, tuple[Place, ...]]


def make_plan(studies: Iterable[Study], root: Path, *, fast: bool = False) -> Plan:
    """Every run of the studies, its folder below `root`/runs. `fast`: tiny ones, one seed each.

    Raises: BadStudy for settings that make no experiment.
    """
    runs: dict[str, Run] = {}
    places = {}
    for study in studies:
        found: list[Place] = []
        for cell in sorted(study.cells, key=lambda cell: cell.init_from is not None):
            source = next((each.run for each in found if each.cell == cell.init_from), None)
            seeds, draws = (cell.seeds[:_FAST_SEEDS], cell.draws[:_FAST_DRAWS]) if fast else (cell.seeds, cell.draws)
            for task, seed, draw in itertools.product(cell.tasks, seeds, draws):
                run = _run(study, cell, task, seed, draw, runs.get(source) if source else None, root, fast)
                runs.setdefault(run.name, run)
                found.append(Place(cell.name, task, seed, draw, run.name))
        places[study.name] = tuple(found)
    return Plan(runs, places)


def _run(study: Study, cell: Cell, task: str, seed: int, draw: int, source: Run | None, root: Path, fast: bool) -> Run:
    settings = merge(merge(cell.settings, FAST), study.fast) if fast else cell.settings
    own: Settings = {"seed": seed, "task": {"name": task, "draw": draw}, "progress": False, "num_threads": 1}
    if source is not None:
        own["adapter"] = {"start": {"from": str(source.folder)}}
    try:
        config = resolve(to_experiment(_parser(), _parser().parse_object(merge(settings, own))))
    except Exception as error:
        raise BadStudy(f"{study.path}: cell {cell.name}: wanted an experiment ({error})") from error
    name = f"{config.task.name}_{config.adapter.name}_{key(config, source.name if source else None)}"
    return Run(name, dataclasses.replace(config, output_dir=str(root / "runs" / name)), source and source.name)


@functools.cache
def _parser() -> ArgumentParser:
    parser = build_parser("", [])
    parser.exit_on_error = False
    return parser


def key(config: Experiment, source: str | None = None) -> str:
    """The same for two experiments that must give the same score. Settings that stand at their default do not count, so
    a setting that a later version adds changes no key."""
    given, usual = flat(config), flat(Experiment())
    told = {name: value for name, value in given.items() if value != usual[name] and name not in WITHOUT_EFFECT}
    if source is not None:
        told["adapter.start.from"] = source
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:10]


def flat(config: Experiment) -> dict[str, Any]:
    """Dotted names to plain values."""
    found: dict[str, Any] = {}

    def walk(content: Mapping[str, Any], prefix: str) -> None:
        for name, value in content.items():
            if isinstance(value, dict):
                walk(value, f"{prefix}{name}.")
            else:
                found[prefix + name] = value

    walk(json.loads(json.dumps(config.to_dict())), "")
    return found
