"""What a sweep tries: cells (settings that vary together), seeds and few-shot draws; each combination is one run."""

import dataclasses
import functools
import itertools
import json
import operator
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dept_vl.config import Experiment
from dept_vl.config.parse import build_parser, to_experiment
from dept_vl.registry import did_you_mean
from dept_vl.untrusted.yaml_text import NotYaml, parse_yaml

Cell = dict[str, Any]  # dotted key to value
DRAWS = (0, 1, 2)  # of a few-shot task; DePT and DPT report three
_OWN_FLAG = {
    "seed": "--seeds",
    "output_dir": "--study",
    "task.draw": "--draws",
    "resume_from_checkpoint": "the same command",
}
_SELECTS = ("metric_for_best_model", "task.eval_split", "task.few_shot_val", "task.max_eval_samples") + tuple(
    f"task.{name}" for name in ("name", "root", "protocol", "k_shot", "k_shot_total")
)
_LONGEST_NAME = 120  # characters of a folder's name that tell the cell


class BadSweep(ValueError):
    """An impossible or contradictory sweep."""


@dataclass(frozen=True)
class Grid:
    """cells: in the order in which ties are decided. draws: None where the task is not few-shot."""

    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]
    draws: tuple[int, ...] | None = None


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep. name: of its folder below the study's. cell: index in `Grid.cells`."""

    name: str
    cell: int
    seed: int
    draw: int | None
    config: Experiment


def make_grid(
    config: Experiment,
    *,
    file: Path | None = None,
    grid: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    draws: Sequence[int] | None = None,
) -> Grid:
    """The grid of a file and of flags `key=value,value`; a flag's key replaces the file's, seeds and draws likewise.

    Every cell of the file's `cells` meets every combination of `grid`. Without seeds: the config's; without draws:
    three for a few-shot task.

    Raises: BadSweep.
    """
    if config.resume_from_checkpoint is not None:
        raise BadSweep("resume_from_checkpoint: wanted none, since a sweep starts its own runs; its command goes on")
    content = read_sweep(file) if file else {}
    axes = {**content.get("grid", {}), **dict(map(_parse_axis, grid))}
    bundles = content.get("cells", [{}])
    for key in {*axes, *itertools.chain(*bundles)}:
        check_key(key)
    if twice := [key for key in axes if any(key in bundle for bundle in bundles)]:
        raise BadSweep(f"wanted each key in cells or in grid, given {', '.join(twice)} in both")
    combinations = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    cells = tuple(_typed(config, {**bundle, **values}) for bundle in bundles for values in combinations)
    few_shot = config.task.k_shot is not None or config.task.k_shot_total is not None
    draws = draws or content.get("draws")
    if draws and not few_shot:
        raise BadSweep("draws: wanted a few-shot task (task.k_shot or task.k_shot_total), given one with all examples")
    made = Grid(
        cells, tuple(seeds or content.get("seeds") or (config.seed,)), tuple(draws or DRAWS) if few_shot else None
    )
    for name, values in (("cells", made.cells), ("seeds", made.seeds), ("draws", made.draws or ())):
        if again := [value for place, value in enumerate(values) if value in values[:place]]:
            raise BadSweep(f"{name}: wanted each once, given {again[0]} twice")
    if len(cells) > 1 and any(cell.get("eval_steps", config.eval_steps) == 0 for cell in cells):
        raise BadSweep(
            f"eval_steps: wanted more than 0, given 0: {len(cells)} cells are compared on the validation split, "
            "and the test split never chooses"
        )
    return made


def read_sweep(path: Path) -> dict[str, Any]:
    """A sweep file: {grid: {key: [value, ...]}, cells: [{key: value, ...}, ...], seeds: [...], draws: [...]}.

    Raises: BadSweep naming the file and what it has instead.
    """
    try:
        content = parse_yaml(path.read_bytes())
    except (OSError, NotYaml) as error:
        raise BadSweep(f"{path}: wanted a sweep file, given {error}") from error
    kinds = {"grid": dict, "cells": list, "seeds": list, "draws": list}
    if not isinstance(content, dict):
        raise BadSweep(f"{path}: wanted keys of {', '.join(kinds)}, given {content!r}")
    for key, value in content.items():
        if key not in kinds:
            raise BadSweep(f"{path}: unknown key {key!r}, wanted {', '.join(kinds)}.{did_you_mean(str(key), kinds)}")
        if not isinstance(value, kinds[key]) or not value:
            raise BadSweep(f"{path}: wanted {key} to be a filled {kinds[key].__name__}, given {value!r}")
    for key, values in content.get("grid", {}).items():
        if not isinstance(values, list) or not values:
            raise BadSweep(f"{path}: grid.{key}: wanted a list of values, given {values!r}")
    for cell in content.get("cells", []):
        if not isinstance(cell, dict) or not cell:
            raise BadSweep(f"{path}: cells: wanted keys with a value each, given {cell!r}")
    for key in ("seeds", "draws"):
        if not all(isinstance(value, int) for value in content.get(key, [])):
            raise BadSweep(f"{path}: {key}: wanted whole numbers, given {content[key]}")
    return content


def _parse_axis(words: str) -> tuple[str, list[Any]]:
    """ "optim.lr.prompt=0.3,0.4" to its key and values, as YAML reads them between brackets."""
    key, equals, text = words.partition("=")
    try:
        values = parse_yaml(f"[{text}]")
    except NotYaml:
        values = None
    if not equals or not values:
        raise BadSweep(f"--grid: wanted key=value,value,..., given {words!r}")
    return key, values


def check_key(key: str) -> None:
    """Raises: BadSweep unless `key` is a setting of the experiment that a sweep may vary."""
    if key in _OWN_FLAG:
        raise BadSweep(f"{key}: wanted {_OWN_FLAG[key]} for it, given a grid key")
    if key in _SELECTS:
        raise BadSweep(f"{key}: cells with another {key} are not validated alike; wanted a study for each value")
    kind, names = Experiment, key.split(".")
    for place, name in enumerate(names):
        fields = {field.name: field.type for field in dataclasses.fields(kind)}
        if name not in fields:
            raise BadSweep(f"unknown key {key!r}: wanted one of {', '.join(fields)}.{did_you_mean(name, fields)}")
        kind, rest = fields[name], names[place + 1 :]
        if not dataclasses.is_dataclass(kind):
            if len(rest) != (typing.get_origin(kind) is dict):
                raise BadSweep(f"unknown key {key!r}: {'.'.join(names[: place + 1])} is of type {kind}")
            return
    raise BadSweep(f"{key}: wanted a setting, given a group of {', '.join(f.name for f in dataclasses.fields(kind))}")


def with_values(config: Experiment, cell: Mapping[str, Any]) -> Experiment:
    """The config with a cell's values, all put in at once. Raises: BadConfig when they do not fit it or each other."""
    return _rebuilt(Experiment, _changed(config, cell))


def _rebuilt(kind: type, content: Mapping[str, Any]) -> Any:
    fields = {field.name: field.type for field in dataclasses.fields(kind)}
    return kind(**{
        name: _rebuilt(each, content[name]) if dataclasses.is_dataclass(each) else content[name]
        for name, each in fields.items()
    })  # fmt: skip


def _changed(config: Experiment, cell: Mapping[str, Any]) -> dict[str, Any]:
    content = config.to_dict()
    for key, value in cell.items():
        *path, last = key.split(".")
        functools.reduce(operator.getitem, path, content)[last] = value
    return content


def _typed(config: Experiment, cell: Cell) -> Cell:
    """The cell with each value as its setting holds it: 1e-4, which YAML reads as a text, is a number then.

    Raises: BadSweep for a value that its setting cannot take.
    """
    parser = build_parser("", [])
    parser.exit_on_error = False
    try:
        parsed = to_experiment(parser, parser.parse_object(json.loads(json.dumps(_changed(config, cell)))))
    except Exception as error:
        raise BadSweep(f"cell {label(cell)}: {error}") from error
    return {key: functools.reduce(operator.getitem, key.split("."), parsed.to_dict()) for key in cell}


def label(cell: Mapping[str, Any]) -> str:
    """ "prompt=0.3, low_rank=0.0005": keys by their last word, where that tells them apart."""
    last = [key.rpartition(".")[2] for key in cell]
    short = {key: word if last.count(word) == 1 else key for key, word in zip(cell, last, strict=True)}
    return ", ".join(f"{short[key]}={value}" for key, value in cell.items())


def planned_runs(config: Experiment, grid: Grid, folder: Path) -> tuple[PlannedRun, ...]:
    """Every run of the sweep, seed by seed, so that a sweep that is stopped has seen all cells first."""
    varied = [with_values(config, cell) for cell in grid.cells]
    runs = []
    for seed, draw, (place, cell) in itertools.product(
        grid.seeds, grid.draws or (None,), enumerate(grid.cells)
    ):  # fmt: skip
        name = _folder_name(place, cell, seed, draw)
        task = varied[place].task if draw is None else dataclasses.replace(varied[place].task, draw=draw)
        made = dataclasses.replace(varied[place], seed=seed, task=task, output_dir=str(folder / name))
        runs.append(PlannedRun(name, place, seed, draw, made))
    return tuple(runs)


def _folder_name(place: int, cell: Cell, seed: int, draw: int | None) -> str:
    """ "02_prompt=0.3_low_rank=0.0005_seed1": the number keeps names apart, whatever a value has to lose."""
    told = re.sub(r"[^\w.=+-]+", "_", label(cell))[:_LONGEST_NAME].strip("_")
    parts = [f"{place + 1:02d}_{told}"] if cell else []
    return "_".join([*parts, f"seed{seed}", *([] if draw is None else [f"draw{draw}"])])


def describe(config: Experiment, grid: Grid) -> dict[str, Any]:
    """What makes a study the same study: the grid, and every setting that it leaves alone; plain JSON, flat.

    Left out is what may differ between the processes of one study: progress bars, threads and worker processes.
    """
    settings = dict(_flat(json.loads(json.dumps(config.to_dict())), ""))
    varied = {key for cell in grid.cells for key in cell} | set(_OWN_FLAG)
    own = {"progress", "num_threads", "dataloader_num_workers", "vision.num_workers"}
    kept = {key: value for key, value in settings.items() if key not in varied | own}
    return json.loads(json.dumps({"cells": grid.cells, "seeds": grid.seeds, "draws": grid.draws, **kept}))


def _flat(content: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
