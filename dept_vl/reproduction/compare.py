"""Ours beside the published number: the difference in points, and how many items of the test split it amounts to.

An accuracy of CB is a count of 28 items, so one item is 3.6 points; correlations and F1 over classes count no items.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dept_vl.registry import did_you_mean
from dept_vl.reproduction.files import Block, Cell, Row, with_k
from dept_vl.tasks import TASKS

_OF_ITEMS = ("accuracy", "exact_match")


class MissingScore(ValueError):
    """A run whose results lack the metric that the table prints."""


@dataclass(frozen=True)
class Comparison:
    """One metric of a cell, in percent. paper: as logged where the log is there, as printed otherwise, None for none.

    ours: the mean over `runs` runs, spread their standard deviation. items: of the test split, None where the metric is
    not a mean over items.
    """

    label: str
    metric: str
    paper: float | int | None
    ours: float
    spread: float | None = None
    runs: int = 1
    items: int | None = None

    @property
    def points(self) -> float | None:
        return None if self.paper is None else self.ours - self.paper

    @property
    def items_apart(self) -> float | None:
        """How many items more than the paper's were right."""
        return None if self.points is None or self.items is None else round(self.points / 100 * self.items, 1) + 0.0

    def line(self) -> str:
        paper = "-" if self.paper is None else self.paper
        line = f"{self.label:<24} {self.metric:<20} paper {paper:>6}  ours {self.ours:6.2f}"
        line += f" (sd {self.spread:.2f}, {self.runs} runs)" if self.spread is not None else ""
        line += f"  {self.points:+.2f} points" if self.points is not None else ""
        return line + (f" = {self.items_apart:+.1f} of {self.items:,} items" if self.items_apart is not None else "")


def metrics_of(cell: Cell) -> tuple[str, ...]:
    """What the table prints of a cell; the task's headline where it prints only a mean."""
    return tuple(cell.published) if cell.published is not None else (TASKS[cell.task].headline,)


def compare(cell: Cell, results: Sequence[Mapping[str, Any]]) -> list[Comparison]:
    """One comparison for each published metric of a cell; `results` holds results.json of each run.

    Raises: MissingScore.
    """
    return [_compare(cell, metric, [_score(cell, metric, each) for each in results]) for metric in metrics_of(cell)]


def _compare(cell: Cell, metric: str, scores: Sequence[float]) -> Comparison:
    per_item = metric in _OF_ITEMS or not TASKS[cell.task].candidates
    return Comparison(
        label=cell.label,
        metric=metric,
        paper=cell.logged.get(metric, (cell.published or {}).get(metric)),
        ours=statistics.mean(scores),
        spread=statistics.stdev(scores) if len(scores) > 1 else None,
        runs=len(scores),
        items=cell.items if per_item else None,
    )


def _score(cell: Cell, metric: str, results: Mapping[str, Any]) -> float:
    scores = results["metrics"]["test"]
    if metric not in scores:
        numbers = ", ".join(name for name, value in scores.items() if isinstance(value, float))
        raise MissingScore(f"{cell.label}: wanted {metric} in results.json, given {numbers}")
    return 100 * float(scores[metric])


def means(row: Row, ours: Mapping[str, float]) -> list[Comparison]:
    """The means that the table prints, where all of their cells have a score; `ours` maps a cell's label to it."""
    found = []
    for mean in row.means:
        labels = [with_k(task, mean.k) for task in mean.tasks]
        if all(label in ours for label in labels):
            found.append(Comparison(mean.label, "mean", mean.published, statistics.mean(ours[each] for each in labels)))
    return found


def published(row: Row) -> dict[str, float | int | None]:
    """Label to the printed number, means included."""
    cells = {cell.label: next(iter((cell.published or {"": None}).values())) for cell in row.cells}
    return cells | {mean.label: mean.published for mean in row.means}


def table(block: Block, rows: Sequence[Row], ours: Mapping[str, Mapping[str, float]]) -> str:
    """The whole published table in Markdown, our rows behind it twice: as printed and as we got them.

    `ours` maps a row's name to the scores of its cells and means by label.
    """
    digits = max(len(str(value).partition(".")[2]) for each in block.rows for value in each.values if value is not None)
    heads = [name.removeprefix("superglue-") for name in block.columns]
    lines = [block.title, "", f"| method | {' | '.join(heads)} | |", "|---" * (len(heads) + 2) + "|"]
    for quoted in block.rows:
        name = f"{quoted.method} ({quoted.parameters})" if quoted.parameters else quoted.method
        lines.append(f"| {name} | {' | '.join(_number(value, digits) for value in quoted.values)} | {quoted.here} |")
    for row in rows:
        if row.table == block.table and row.variant == block.variant:
            keys = [with_k(name, block.k) for name in block.columns]
            got, there = ours.get(row.name, {}), published(row)
            paper = " | ".join(_number(there.get(key), digits) for key in keys)
            here = " | ".join(_number(got.get(key), 2) for key in keys)
            lines += [f"| {row.method} | {paper} | the paper |"]
            lines += [f"| {row.method} | {here} | ours{'' if any(key in got for key in keys) else ': not run yet'} |"]
    return "\n".join(lines)


def why_absent(method: str | None, rows: Iterable[Row], blocks: Iterable[Block]) -> str:
    """What the quoted rows say of a method of a table that is not among our `rows`."""
    said = [f"{each.method}: {each.here}" for block in blocks for each in block.rows if method in (None, each.method)]
    methods = sorted({row.method for row in rows})
    hint = did_you_mean(method or "", methods)
    nothing = f"{method or 'this table'}: wanted a row of {', '.join(methods) or 'this paper'} with such a cell.{hint}"
    return "; ".join(dict.fromkeys(said)) or nothing


def _number(value: float | int | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
