"""Figures: a PNG at page width and a CSV of the same numbers.

Bars, lines and marks are means, whiskers and bands one standard deviation over seeds, a small dot is one seed.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from dept_vl.plans.points import ALL, Point, as_csv, points
from dept_vl.plans.schema import PlanFile, Plot
from dept_vl.plans.table import Table
from dept_vl.untrusted.whole_files import write_files_whole

WIDTH, DOTS = 7.0, 150  # inches, dots per inch
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#999999")  # Okabe and Ito's
MARKERS = "os^DvPX*"
_STYLE = {
    "font.size": 9, "axes.titlesize": 10, "axes.labelsize": 9, "legend.fontsize": 9, "xtick.labelsize": 9,
    "ytick.labelsize": 9, "axes.grid": True, "grid.alpha": 0.3, "axes.axisbelow": True, "axes.spines.top": False,
    "axes.spines.right": False, "figure.dpi": DOTS, "svg.hashsalt": "dept_vl",
}  # fmt: skip


def file_name(plan: PlanFile, plot: Plot) -> str:
    """Without its ending."""
    return f"{plan.name}_{plot.name}" if plot.name else plan.name


def write_figures(table: Table, folder: Path, plots: Sequence[Plot] | None = None) -> list[str]:
    """Draws every plot that has numbers into `folder`, those of the plan unless others are given; the names, without
    ending, in their order. Where some run folders are not here, a picture stays that only they could draw."""
    names = []
    for plot in _drawable(table, folder) if plots is None else plots:
        found = points(table, plot)
        if found:
            name = file_name(table.plan, plot)
            files = {f"{name}.png": draw(table, plot, found), f"{name}.csv": as_csv(found).encode()}
            write_files_whole(folder, files)
            names.append(name)
    return names


def _drawable(table: Table, folder: Path) -> list[Plot]:
    """All where all runs are here; else those that single values draw whole, and that are not there or gain by runs."""
    if table.stored is None:
        return list(table.plan.plots)
    wanted = [plot for plot in table.plan.plots if plot.kind not in ("curves", "heat")]
    wanted = [each for each in wanted if table.outcomes or not (folder / f"{file_name(table.plan, each)}.png").exists()]
    return [plot for plot in wanted if {point.panel[0] for point in points(table, plot)} == set(plot.y)]


def draw(table: Table, plot: Plot, found: Sequence[Point]) -> bytes:
    """The PNG of a plot."""
    with matplotlib.rc_context(_STYLE):
        panels = list(dict.fromkeys(point.panel for point in found))
        columns = min(2, len(panels))
        rows = math.ceil(len(panels) / columns)
        there = {point.cell for point in found}
        names = [cell.name for cell in table.plan.cells if cell.name in there]
        height = _height(plot, len(names))
        figure = Figure(figsize=(WIDTH, rows * height + 0.75), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, sharey="row" if plot.kind == "bars" else False)
        for place, axis in enumerate(axes.flat):
            if place >= len(panels):
                axis.set_visible(False)
                continue
            measure, task = panels[place]
            here = [point for point in found if point.panel == panels[place]]
            label = plot.y_labels[plot.y.index(measure)] if measure in plot.y else measure
            _DRAW[plot.kind](axis, plot, here, label, names)
            if task != ALL:
                axis.set_title(task)
        figure.suptitle(plot.title, fontsize=11)
        _legend(figure, axes.flat[0])
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=DOTS, metadata={"Software": None})
        return file.getvalue()


def _height(plot: Plot, cells: int) -> float:
    """Of a row of panels, in inches."""
    scatter = 4.5 if cells > len(COLOURS) else 2.7
    return {"bars": 0.34 * cells + 0.7, "heat": 0.42 * cells + 0.9, "scatter": scatter}.get(plot.kind, 2.7)


def _bars(axis: Axes, plot: Plot, found: Sequence[Point], label: str, names: Sequence[str]) -> None:
    for point in found:
        at = names.index(point.cell)
        axis.barh(at, point.mean, 0.62, xerr=point.sd or None, color=COLOURS[0], alpha=0.75, capsize=3, zorder=1)
        axis.plot(point.values, [at] * len(point.values), "o", mfc="white", mec="black", markersize=4, zorder=3)
    for at, name in enumerate(names):
        if name not in {point.cell for point in found}:
            axis.text(0, at, " not run", va="center", color="gray")
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
    axis.set_xlabel(label)
    _from_zero_or_near(axis, found)


def _from_zero_or_near(axis: Axes, found: Sequence[Point]) -> None:
    """Bars start at zero; scores below it keep their side."""
    least = min(min(point.values) for point in found)
    most = max(max((*point.values, point.mean + point.sd)) for point in found)
    axis.set_xlim(min(0.0, 1.08 * least), 1.08 * most if most > 0 else 1.0)


def _line(axis: Axes, plot: Plot, found: Sequence[Point], label: str, names: Sequence[str]) -> None:
    placed = [point for point in found if point.x is not None]
    series = list(dict.fromkeys(point.series for point in placed))
    for number, name in enumerate(series):
        line = sorted((point for point in placed if point.series == name), key=lambda point: point.x)
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        xs = [_beside(point.x, number, len(series), placed, bool(plot.log)) for point in line]
        if len(line) == 1 and len(series) > 1:
            axis.axhline(line[0].mean, color=colour, linestyle=":", linewidth=1)
        axis.errorbar(
            xs, [point.mean for point in line], [point.sd for point in line], color=colour, marker=marker, markersize=5,
            capsize=3, linewidth=1.5, label=name,
        )  # fmt: skip
        if all(len(point.values) <= 5 for point in line):
            for x, point in zip(xs, line, strict=True):
                axis.plot([x] * len(point.values), point.values, ".", color=colour, alpha=0.6, markersize=5)
    if plot.log:
        axis.set_xscale("log")
    ticks = sorted({point.x for point in placed})
    if plot.log or len(ticks) <= 8:
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    if plot.log:
        axis.minorticks_off()
    axis.set_xlabel(plot.x_label)
    axis.set_ylabel(label)


def _beside(x: float | int, number: int, series: int, placed: Sequence[Point], log: bool) -> float:
    """A little left or right of x, so that the whiskers of several lines do not hide each other."""
    least, most = min(point.x for point in placed), max(point.x for point in placed)
    step = 0.012 * (number - (series - 1) / 2)
    return float(x * (most / least) ** step if log and least > 0 else x + (most - least) * step)


def _scatter(axis: Axes, plot: Plot, found: Sequence[Point], label: str, names: Sequence[str]) -> None:
    """More cells than colours have their names beside their points and no legend. What a logarithmic axis has no place
    for, such as no trained weights, is a dotted line."""
    many = len(names) > len(COLOURS)
    known = [each for each in found if each.x is not None]
    for point in (each for each in known if plot.log and each.x <= 0):
        axis.axhline(point.mean, color="gray", linestyle=":", linewidth=1, zorder=0)
        axis.annotate(point.cell, (0.99, point.mean), xycoords=axis.get_yaxis_transform(), fontsize=7, ha="right")
    for point in (each for each in known if not plot.log or each.x > 0):
        number = 0 if many else names.index(point.cell)
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        axis.errorbar(
            [point.x], [point.mean], [point.sd], color=colour, marker=marker, markersize=7, capsize=3, linestyle="",
            label=None if many else point.cell,
        )  # fmt: skip
        if many:
            place = {"xytext": (4, -5), "textcoords": "offset points", "rotation": -35, "rotation_mode": "anchor"}
            axis.annotate(point.cell, (point.x, point.mean), fontsize=7, va="top", **place)
        axis.plot([point.x] * len(point.values), point.values, ".", color=colour, alpha=0.6, markersize=4)
    if plot.front:
        front = pareto([(point.x, point.mean) for point in known])
        front = [(x, y) for x, y in front if not plot.log or x > 0]
        axis.step([x for x, _ in front], [y for _, y in front], where="post", color=COLOURS[1], linewidth=1, zorder=0)
    if plot.log:
        axis.set_xscale("log")
        for which in (axis.xaxis.set_major_formatter, axis.xaxis.set_minor_formatter):
            which(FuncFormatter(_tens if many else _one_two_five))
    axis.set_xlabel(plot.x_label)
    axis.set_ylabel(label)


def pareto(points: Sequence[tuple[float | int, float]]) -> list[tuple[float | int, float]]:
    """The points (cost, score) than which no other has as high a score at as low a cost, the cheapest first."""
    front: list[tuple[float | int, float]] = []
    for cost, score in sorted(set(points), key=lambda point: (point[0], -point[1])):
        if not front or score > front[-1][1]:
            front.append((cost, score))
    return front


def _one_two_five(value: float, _: object) -> str:
    """1,000, 2,000, 5,000, 10,000 ... and nothing at the ticks between them."""
    return f"{value:,.0f}" if f"{value:.0e}"[0] in "125" else ""


def _tens(value: float, _: object) -> str:
    return f"{value:,.0f}" if f"{value:.0e}"[0] == "1" else ""


def _curves(axis: Axes, plot: Plot, found: Sequence[Point], label: str, names: Sequence[str]) -> None:
    for number, name in enumerate(names):
        line = [point for point in found if point.cell == name]
        xs, means = [point.x for point in line], [point.mean for point in line]
        colour = COLOURS[number % len(COLOURS)]
        few = len(line) <= 24
        axis.plot(
            xs, means, color=colour, label=name, marker=MARKERS[number % len(MARKERS)] if few else "", markersize=4
        )
        low, high = [point.mean - point.sd for point in line], [point.mean + point.sd for point in line]
        axis.fill_between(xs, low, high, color=colour, alpha=0.15, linewidth=0)
    axis.set_xlabel(plot.x_label)
    axis.set_ylabel(label)


def _heat(axis: Axes, plot: Plot, found: Sequence[Point], label: str, names: Sequence[str]) -> None:
    size = range(len(names))
    mean = {(point.cell, point.series): point.mean for point in found}
    grid = [[mean.get((names[row], names[column]), math.nan) for column in size] for row in size]
    axis.imshow(grid, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    for row in size:
        for column in size:
            value = grid[row][column]
            if not math.isnan(value):
                colour = "white" if value < 0.6 else "black"
                axis.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=9)
    axis.set_xticks(size, names, rotation=35, ha="right")
    axis.set_yticks(size, names)
    axis.grid(visible=False)


def _legend(figure: Figure, axis: Axes) -> None:
    handles, labels = axis.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    if len(once) > 1:
        figure.legend(once.values(), once.keys(), loc="outside lower center", ncols=min(3, len(once)), frameon=False)


_DRAW = {"bars": _bars, "line": _line, "scatter": _scatter, "curves": _curves, "heat": _heat}
