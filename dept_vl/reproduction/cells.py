"""A cell of a table as a run of ours: its experiment, the check before anything is loaded, the run itself."""

import dataclasses
import functools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from dept_vl.config import Experiment, parse_experiment
from dept_vl.config.parse import build_parser, to_experiment
from dept_vl.registry import did_you_mean
from dept_vl.reproduction.files import Cell, Row, merge
from dept_vl.reproduction.typed import BadTableFile
from dept_vl.run import check, resolve
from dept_vl.tasks import TASKS, TextTask
from dept_vl.train.resumable import find_checkpoints

RESULTS = "results.json"
WITHOUT_EFFECT = (
    "output_dir", "resume_from_checkpoint", "report_to", "progress", "num_threads", "dataloader_num_workers",
    "logging_steps", "save_steps", "save_total_limit", "backbone.gradient_checkpointing",
)  # fmt: skip
"""Settings that change no score, so that a finished run with others counts all the same."""


class StaleRun(ValueError):
    """A finished run in a cell's folder that was made with other settings."""


class BadFlag(ValueError):
    """A setting that a row leaves to the command and that it lacks, or one that the row keeps for itself."""


def repeats(row: Row, seeds: Sequence[int] = ()) -> list[tuple[int, int]]:
    """(seed, draw) of each run of a cell; `seeds` instead of the row's own."""
    return [(seed, draw) for seed in seeds or row.seeds for draw in row.draws]


def cell_folder(row: Row, cell: Cell, seed: int, draw: int, output_dir: Path) -> Path:
    """Below output_dir: dept/table5_pt/cola_k4_draw0_seed42."""
    shots = "" if cell.k is None else f"_k{cell.k}_draw{draw}"
    return output_dir / row.paper / row.path.stem / f"{cell.task}{shots}_seed{seed}"


@functools.cache
def _parser() -> ArgumentParser:
    parser = build_parser("", [])
    parser.exit_on_error = False
    return parser


def experiment_of(
    row: Row, cell: Cell, seed: int, draw: int, *, output_dir: Path = Path("runs/paper"), flags: Sequence[str] = ()
) -> Experiment:
    """The cell's experiment; `flags` are `Experiment`'s, they and files behind --config come last.

    Raises: BadTableFile for settings that make no experiment, BadFlag for a flag that the row keeps for itself.
        SystemExit for flags that make no experiment, as every script does.
    """
    task = {"task": {"name": cell.task, "protocol": row.protocol}}
    settings = merge(merge(task, row.experiment), cell.settings)
    folder = str(cell_folder(row, cell, seed, draw, output_dir))
    try:
        config = to_experiment(_parser(), _parser().parse_object(settings))
    except Exception as error:
        raise BadTableFile(f"{row.path}: cell {cell.label}: wanted an experiment ({error})") from error
    if ours := {flag.partition("=")[0] for flag in flags} & {"--seed", "--output_dir", "--task.name", "--task.draw"}:
        raise BadFlag(f"{min(ours)}: wanted the command's own --seeds, --output_dir or --task, or another row")
    if flags:
        overrides = ["--config", yaml.safe_dump(settings)]
        config = parse_experiment(flags, description="A cell of a table.", defaults=[], overrides=overrides)
        if config.task.name != cell.task:
            raise BadFlag(f"task.name: wanted {cell.task}, the cell's, given {config.task.name} by a file of --config")
    return dataclasses.replace(config, seed=seed, output_dir=folder, task=dataclasses.replace(config.task, draw=draw))


def check_rows(rows: Iterable[Row]) -> list[str]:
    """A line for each row. Raises: BadTableFile with all that is wrong, after all rows were checked."""
    lines, wrong = [], []
    for row in rows:
        try:
            lines.append(check_row(row))
        except BadTableFile as error:
            wrong.append(str(error))
    if wrong:
        raise BadTableFile("\n".join(wrong))
    return lines


def check_row(row: Row) -> str:
    """Holds every cell against the task registry and the adapters' sizes; a line that tells what the row comes to.

    Raises: BadTableFile naming the file and the cell.
    """
    for cell in row.cells:
        where = f"{row.path}: cell {cell.label}: "
        try:
            config = resolve(experiment_of(row, cell, *repeats(row)[0]))
            check(config)
        except BadTableFile:
            raise
        except ValueError as error:
            raise BadTableFile(f"{where}{error}") from error
        task = TASKS[cell.task].under(config.task.protocol)
        if not isinstance(task, TextTask):
            raise BadTableFile(f"{where}wanted a text task, given {cell.task}")
        known = dict.fromkeys((task.headline, *task.selecting))
        for metric in {**(cell.published or {}), **cell.logged}:
            if metric not in known:
                wanted = f"wanted a metric of {', '.join(known)}"
                raise BadTableFile(f"{where}{wanted}, given {metric!r}.{did_you_mean(metric, known)}")
        if task.splits.sizes is not None and cell.items != task.splits.sizes[2]:
            wanted = f"wanted the {task.splits.sizes[2]:,} of the test split under {config.task.protocol}"
            raise BadTableFile(f"{where}items: {wanted}, given {cell.items:,}")
    runs = len(row.cells) * len(repeats(row))
    need = f", to be given: {', '.join(f'--{name}' for name in row.given)}" if row.given else ""
    return f"{row.paper} table {row.table} {row.name}: {len(row.cells)} cells, {runs} runs, {row.protocol}{need}: good"


def run_cell(
    row: Row,
    cell: Cell,
    *,
    run: Callable[[Experiment], Any],
    output_dir: Path,
    seeds: Sequence[int] = (),
    flags: Sequence[str] = (),
) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """(folder, results.json) of each repeat. A finished run is read, a begun one goes on from its last checkpoint.

    Raises: BadFlag, StaleRun, and what `run` raises.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise BadFlag(f"{row.path}: wanted one process, whose batch the row gives, given several")
    configs = [
        experiment_of(row, cell, seed, draw, output_dir=output_dir, flags=flags) for seed, draw in repeats(row, seeds)
    ]
    for name in row.given:
        group, _, last = name.rpartition(".")
        if getattr(getattr(configs[0], group) if group else configs[0], last) is None:
            raise BadFlag(f"{row.path}: wanted --{name}, which the file's head explains, given none")
    for config in configs:
        path = Path(config.output_dir) / RESULTS
        if not path.exists():
            begun = bool(find_checkpoints(path.parent / "checkpoints"))
            run(dataclasses.replace(config, resume_from_checkpoint="last") if begun else config)
        results = json.loads(path.read_text(encoding="utf-8"))
        _refuse_stale(path.parent, resolve(config), results["run_info"]["train_config"])
        yield path.parent, results


def _refuse_stale(folder: Path, wanted: Experiment, given: Mapping[str, Any]) -> None:
    now, then = (_flat(json.loads(json.dumps(each))) for each in (wanted.to_dict(), dict(given)))
    differ = [name for name in now if name not in WITHOUT_EFFECT and now[name] != then.get(name, now[name])]
    if differ:
        shown = "; ".join(f"{name} {then[name]!r}, wanted {now[name]!r}" for name in differ)
        raise StaleRun(f"{folder}: holds a run with other settings ({shown}): give another --output_dir, or move it")


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
