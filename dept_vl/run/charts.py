"""The curves of a run as SVG images: loss, score, learning rates and gradient norms over optimizer steps."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

Points = Sequence[tuple[int, int | float]]
STYLE = {
    "svg.hashsalt": "dept_vl", "svg.fonttype": "none", "font.size": 9, "axes.grid": True, "grid.alpha": 0.4,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
}  # fmt: skip
COLOURS = ("#0072b2", "#c14f00", "#00795a", "#a3487f")
DASHES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Chart:
    """about: the chart in words, with the first and last value of each curve. picture: a data URI."""

    title: str
    about: str
    picture: str


def draw_run(results: Mapping[str, Any], log: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Charts of results.json and the lines of metrics.jsonl; scores x 100."""
    groups, headline = results["weights"]["by_group"], results["selection"]["reported"]
    steps = [line for line in log if "loss" in line]
    scores = [(line["step"], 100 * line["evaluation"][headline]) for line in log if "evaluation" in line]

    def by_group(what: str) -> dict[str, Points]:
        return {name: [(line["step"], line[what][name]) for line in steps if name in line[what]] for name in groups}

    return [
        draw("Training loss", {"loss": [(line["step"], line["loss"]) for line in steps]}),
        draw(f"{headline} × 100 while training", {headline: scores}, best=results["best_step"]),
        draw("Learning rate, log scale", by_group("lr"), log=True),
        draw("Gradient norm before clipping, log scale", by_group("grad_norm"), log=True),
    ]


def draw(title: str, curves: Mapping[str, Points], *, log: bool = False, best: int | None = None) -> Chart:
    """A chart of named curves over steps, with a mark at the step `best`, whose weights were kept.

    Values that are not finite are left out; so are zeros on a log axis, and the legend counts them.
    """
    labels = []
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.4, 2.7))  # fixed margins: fitting them to the labels takes as long as drawing
        axes = figure.subplots(gridspec_kw={"left": 0.15, "right": 0.98, "bottom": 0.17, "top": 0.96})
        axes.set_xlabel("optimizer step")
        for number, (name, points) in enumerate(curves.items()):
            finite = [(step, value) for step, value in points if math.isfinite(value)]
            drawn = [(step, value) for step, value in finite if value > 0 or not log]
            if not finite:
                continue
            zeros = len(finite) - len(drawn)
            labels.append(
                f"{name}: {finite[0][1]:.3g} to {finite[-1][1]:.3g}" + f"; {zeros} zeros not drawn" * bool(zeros)
            )
            look = {
                "color": COLOURS[number % 4],
                "linestyle": DASHES[number % 4],
                "marker": "." if len(drawn) < 31 else "",
            }
            axes.plot(*zip(*drawn, strict=True) if drawn else ((), ()), label=labels[-1], **look)
        if labels:
            if log:
                axes.set_yscale("log")
                for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
                    set_formatter(LogFormatter(labelOnlyBase=False))  # the default sets powers as formulas, slowly
            if best:
                labels.append(f"step {best:,}, whose weights were kept")
                axes.axvline(best, color="gray", linestyle=":", label=labels[-1])
            axes.set_xlim(left=0)
            axes.legend(fontsize=8)
        else:
            labels = ["nothing to draw: the log has no such values"]
            axes.text(0.5, 0.5, labels[0], transform=axes.transAxes, ha="center")
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    picture = "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode("ascii")
    return Chart(title, f"{title} over optimizer steps; {'; '.join(labels)}", picture)
