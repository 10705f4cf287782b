"""What a figure shows, as rows of numbers: drawn by `figures`, written beside the picture as CSV."""

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dept_vl.plans.schema import Plot
from dept_vl.plans.similarity import similarities
from dept_vl.plans.table import COST_MEASURES, Outcome, Table, check_measure, spent, values

ALL = ""  # the task of a panel that is about no task


@dataclass(frozen=True)
class Point:
    """values: one per repeat. x: None where the axis has names. panel: (measure, task)."""

    panel: tuple[str, str]
    cell: str
    series: str
    x: float | int | None
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def sd(self) -> float:
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0


def points(table: Table, plot: Plot) -> list[Point]:
    """The points of a plot, panel by panel; what is not run or measured yet is not there."""
    cells = [each for each in table.plan.compared() if not plot.cells or each.name in plot.cells]
    tasks = plot.tasks or tuple(dict.fromkeys(task for cell in cells for task in cell.tasks))
    if plot.kind == "heat":
        return [point for task in tasks for point in _heat(table, [cell.name for cell in cells], task)]
    found = []
    for measure in plot.y:
        alone = measure in COST_MEASURES or measure == "weights"
        for task in (ALL,) if alone or plot.together else tasks:
            for cell in cells:
                label = cell.series or cell.name
                if plot.kind == "curves":
                    found += _curve(table, plot, (measure, task), cell.name, label)
                    continue
                there = tuple(
                    values(table, measure, [cell.name], tasks=[task] if task else (), target=plot.target).values()
                )
                if there:
                    found.append(
                        Point((measure, task), cell.name, label, _place(table, plot, cell.name, cell.at), there)
                    )
    return found


def _place(table: Table, plot: Plot, cell: str, at: float | int | None) -> float | int | None:
    if plot.x == "at":
        return at
    check_measure(str(table.plan.path), plot.x)
    there = values(table, plot.x, [cell])
    return statistics.fmean(there.values()) if there else None


def _curve(table: Table, plot: Plot, panel: tuple[str, str], cell: str, label: str) -> list[Point]:
    """By step, what the log says of a dotted name (loss, diagnostics.positive); with another x, the validation score
    over the spent share of the target's training."""
    runs = table.of(cell, panel[1])
    if plot.x in ("flops", "seconds"):
        rows = [row for row in (_spent(table, outcome, plot) for outcome in runs) if row]
        # seeds meet at the same evaluation, not at the same second: its x is the mean of theirs
        together = [list(zip(*each, strict=True)) for each in zip(*rows, strict=False)]
        return [Point(panel, cell, label, statistics.fmean(xs), tuple(scores)) for xs, scores in together]
    by_step: dict[float, list[float]] = {}
    for step, value in (each for outcome in runs for each in _logged(outcome, panel[0])):
        by_step.setdefault(step, []).append(value)
    return [Point(panel, cell, label, step, tuple(by_step[step])) for step in sorted(by_step)]


def _logged(outcome: Outcome, name: str) -> list[tuple[float, float]]:
    found = []
    for line in outcome.log():
        value: Any = line
        for word in name.split("."):
            value = value.get(word) if isinstance(value, dict) else None
        if value is not None:
            found.append((float(line["step"]), float(value)))
    return found


def _spent(table: Table, outcome: Outcome, plot: Plot) -> list[tuple[float, float]]:
    target = table.twin(outcome, plot.target or outcome.place.cell)
    if target is None or not spent(target):  # nothing was evaluated while it trained
        return []
    whole = spent(target)[-1]
    of = whole.flops if plot.x == "flops" else whole.seconds
    parts = [(each.flops if plot.x == "flops" else each.seconds, each.score) for each in spent(outcome)]
    return [(100 * part / of, 100 * score) for part, score in parts if part is not None and of]


def _heat(table: Table, cells: Sequence[str], task: str) -> list[Point]:
    found = similarities({cell: {each.place.seed: each.folder for each in table.of(cell, task)} for cell in cells})
    return [Point(("cosine", task), a, b, None, tuple(values)) for (a, b), values in found.items() if values]


def as_csv(found: Sequence[Point]) -> str:
    """measure,task,cell,series,x,mean,sd,repeats,values; values separated by blanks."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["measure", "task", "cell", "series", "x", "mean", "sd", "repeats", "values"])
    for each in found:
        row = [*each.panel, each.cell, each.series, "" if each.x is None else f"{each.x:.6g}", f"{each.mean:.6g}"]
        sd = f"{each.sd:.6g}" if len(each.values) > 1 else ""
        writer.writerow([*row, sd, len(each.values), " ".join(f"{value:.6g}" for value in each.values)])
    return file.getvalue()
