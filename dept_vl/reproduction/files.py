"""The papers' tables as files: the rows that we run and the rows that we only quote, with every mistake named.

A row is configs/paper/<paper>/table<N>_<method>[_<variant>].yaml: settings of `Experiment` that its cells share, and a
cell for each number of the table. Rows of other methods stand in configs/paper/<paper>/published.yaml, in blocks.
Published numbers are percent, as printed.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dept_vl.config import Experiment
from dept_vl.registry import did_you_mean
from dept_vl.reproduction.typed import BadTableFile, Scores, Settings, build, read


def with_k(name: str, k: int | None) -> str:
    """The name of a cell or a mean where a table has several k."""
    return name if k is None else f"{name} k={k}"


@dataclass(frozen=True)
class Cell:
    """One number of a table.

    published: metric to percent; None where the table prints only a mean. logged: the same run's unrounded scores in
    the authors' logs. items: rows of the split that was scored. k: of few-shot tables. sd: the printed deviation.
    """

    task: str
    published: Scores | None
    items: int
    k: int | None = None
    logged: Scores = field(default_factory=dict)
    sd: float | int | None = None
    settings: Settings = field(default_factory=dict)

    @property
    def label(self) -> str:
        return with_k(self.task, self.k)


@dataclass(frozen=True)
class Mean:
    """A mean that the table prints over the cells of `tasks`, of each cell's first metric."""

    name: str
    tasks: tuple[str, ...]
    published: float | int
    k: int | None = None

    @property
    def label(self) -> str:
        return with_k(self.name, self.k)


@dataclass(frozen=True)
class Row:
    """A row of a table that we run. `experiment` holds the files of `base` and the row's own settings, merged.

    given: settings that only a command can bring, such as a source run. A cell runs for each of `seeds` and `draws`.
    """

    path: Path
    paper: str
    table: int
    method: str
    protocol: str
    base: tuple[str, ...]
    experiment: Settings
    cells: tuple[Cell, ...]
    means: tuple[Mean, ...] = ()
    seeds: tuple[int, ...] = (42,)
    draws: tuple[int, ...] = (0,)
    given: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The file's name without its table: the method and its variant."""
        return self.path.stem.partition("_")[2]

    @property
    def variant(self) -> str | None:
        return self.name.removeprefix(self.method).removeprefix("_") or None


@dataclass(frozen=True)
class Quoted:
    """A row of another method. values: one per column of its block, None where the table has a dash."""

    method: str
    values: tuple[float | int | None, ...]
    parameters: str = ""
    here: str = "not run here"


@dataclass(frozen=True)
class Block:
    """Rows of a table under one heading. A column that is no task is a mean over those before it."""

    table: int
    title: str
    columns: tuple[str, ...]
    rows: tuple[Quoted, ...]
    k: int | None = None
    variant: str | None = None


def load_rows(folder: Path, paper: str) -> tuple[Row, ...]:
    """Every row of configs/paper/<paper>; `folder` is configs/paper. Raises: BadTableFile."""
    return tuple(load_row(path, folder.parent) for path in sorted((folder / paper).glob("table*.yaml")))


def select(
    rows: Iterable[Row],
    *,
    table: int | None = None,
    method: str | None = None,
    task: str | None = None,
    k: int | None = None,
) -> list[Row]:
    """The rows of a table and a method (dpt, or dpt_t5_base for one variant), each with the cells of a task and a k."""
    rows = [row for row in rows if table in (None, row.table) and method in (None, row.method, row.name)]
    kept = [[cell for cell in row.cells if task in (None, cell.task) and k in (None, cell.k)] for row in rows]
    return [dataclasses.replace(row, cells=tuple(cells)) for row, cells in zip(rows, kept, strict=True) if cells]


def load_row(path: Path, configs: Path) -> Row:
    """The row of a file; the files of its `base` lie below `configs`. Raises: BadTableFile."""
    row = build(Row, read(path), f"{path}: ", path=path)
    if not re.fullmatch(rf"table{row.table}_{row.method}(_\w+)?", path.stem) or path.parent.name != row.paper:
        wanted = f"{row.paper}/table{row.table}_{row.method}[_<variant>].yaml"
        raise BadTableFile(f"{path}: wanted the name {wanted}, given {path.parent.name}/{path.name}")
    labels = [cell.label for cell in row.cells]
    if doubled := {label for label in labels if labels.count(label) > 1}:
        raise BadTableFile(f"{path}: wanted each cell once, given {', '.join(sorted(doubled))} twice")
    for mean in row.means:
        there = [cell.task for cell in row.cells if cell.k == mean.k]
        for task in mean.tasks:
            if task not in there:
                raise BadTableFile(
                    f"{path}: mean {mean.name}: wanted cells, given {task!r}.{did_you_mean(task, there)}"
                )
    merged: Settings = {}
    for name in row.base:
        merged = merge(merged, read(configs / name))
    for where, settings in ((f"{path}: experiment.", row.experiment), *_settings_of_cells(row)):
        _refuse_unknown(where, settings, Experiment)
    return dataclasses.replace(row, experiment=merge(merged, row.experiment))


def load_blocks(folder: Path, paper: str) -> tuple[Block, ...]:
    """The quoted rows of a paper, none without a published.yaml. Raises: BadTableFile."""
    path = folder / paper / "published.yaml"
    blocks = read(path).get("blocks") if path.exists() else []
    if not isinstance(blocks, list):
        raise BadTableFile(f"{path}: blocks: wanted a list, given {blocks!r}")
    built = tuple(build(Block, each, f"{path}: block {number}: ") for number, each in enumerate(blocks, start=1))
    for block in built:
        for row in block.rows:
            if len(row.values) != len(block.columns):
                wanted = f"{len(block.columns)} values, one per column"
                raise BadTableFile(f"{path}: {block.title}: {row.method}: wanted {wanted}, given {len(row.values)}")
    return built


def merge(left: Settings, right: Mapping[str, Any]) -> Settings:
    """`right` over `left`, key by key at every depth."""
    deep = [key for key in left if isinstance(left[key], dict) and isinstance(right.get(key), dict)]
    return {**left, **right, **{key: merge(left[key], right[key]) for key in deep}}


def _settings_of_cells(row: Row) -> list[tuple[str, Settings]]:
    return [(f"{row.path}: cell {cell.label}: settings.", cell.settings) for cell in row.cells]


def _refuse_unknown(where: str, settings: Any, config: type) -> None:
    fields = {each.name: each.type for each in dataclasses.fields(config)}
    if not isinstance(settings, dict):
        raise BadTableFile(f"{where.rstrip('.')}: wanted keys and values, given {settings!r}")
    for key, value in settings.items():
        if key not in fields:
            raise BadTableFile(
                f"{where}{key}: wanted a setting, one of {', '.join(fields)}.{did_you_mean(key, fields)}"
            )
        if dataclasses.is_dataclass(fields[key]):
            _refuse_unknown(f"{where}{key}.", value, fields[key])
