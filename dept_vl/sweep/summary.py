"""What a sweep came to: every cell by its validation scores, the best cell by its test scores, files for both."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dept_vl.statistics.spread import FEWEST, MANY, spread
from dept_vl.sweep.grid import Grid, PlannedRun, label
from dept_vl.untrusted.whole_files import write_files_whole

SUMMARY, TABLE = "summary.json", "summary.md"
_EQUAL = 1e-9  # means that differ by less are equal: the rest is rounding


@dataclass(frozen=True)
class Outcome:
    """Where a run stands. val, test: the selecting score and the reported one, of a finished run."""

    run: PlannedRun
    state: Literal["waiting", "running", "finished", "failed"]
    val: float | None = None
    test: float | None = None
    error: str = ""
    process: dict[str, Any] | None = None


def summarise(outcomes: Sequence[Outcome], grid: Grid, selecting: str, headline: str) -> dict[str, Any]:
    """The summary as plain JSON, scores as fractions.

    The best cell has the highest mean validation score, the first of those that are equal; a cell takes part when all
    its runs are finished. There is none while runs are left to do.
    """
    left = [each for each in outcomes if each.state in ("waiting", "running")]
    failed = [each for each in outcomes if each.state == "failed"]
    cells = [_cell(place, cell, [o for o in outcomes if o.run.cell == place]) for place, cell in enumerate(grid.cells)]
    best = None if left else _best(cells)
    return {
        "state": "unfinished" if left else "failed" if failed else "finished",
        "selecting": f"val {selecting}",
        "reported": f"test {headline}",
        "runs": {"planned": len(outcomes), "left": len(left), "failed": len(failed)},
        "cells": cells,
        "best": None if best is None else _reported(cells[best], [o for o in outcomes if o.run.cell == best], grid),
        "failed": [{"run": each.run.name, "error": each.error} for each in failed],
        "left": [{"run": each.run.name, "state": each.state, "process": each.process} for each in left],
    }


def _cell(place: int, cell: dict[str, Any], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    values = [each.val for each in outcomes if each.state == "finished" and each.val is not None]
    found = spread(values) if values else None
    return {
        "cell": place + 1,
        "values": cell,
        "label": label(cell) or "the config as it is",
        "whole": all(each.state == "finished" for each in outcomes),
        "val": {"mean": found and found.mean, "sd": found and found.sd, "values": values},
    }


def _best(cells: Sequence[dict[str, Any]]) -> int | None:
    whole = [place for place, cell in enumerate(cells) if cell["whole"]]
    if len(cells) == 1:
        return whole[0] if whole else None
    highest = max((cells[place]["val"]["mean"] for place in whole), default=0.0)
    return next((place for place in whole if cells[place]["val"]["mean"] >= highest - _EQUAL), None)


def _reported(cell: dict[str, Any], outcomes: Sequence[Outcome], grid: Grid) -> dict[str, Any]:
    found = dataclasses.asdict(spread([each.test for each in outcomes if each.test is not None]))
    runs = [{"run": o.run.name, "seed": o.run.seed, "draw": o.run.draw, "val": o.val, "test": o.test} for o in outcomes]
    crossed = len(grid.seeds) > 1 and len(grid.draws or ()) > 1
    return {**{key: cell[key] for key in ("cell", "values", "label", "val")}, "test": found, "runs": runs} | (
        {"note": "runs that share a seed or a draw are not independent: the interval is too narrow"} if crossed else {}
    )


def as_markdown(summary: dict[str, Any]) -> str:
    """The table of cells and what is to be said of the best one; scores x 100."""
    best, counts = summary["best"], summary["runs"]
    lines = [
        f"# Sweep: {len(summary['cells'])} cells, {counts['planned']} runs",
        "",
        f"{summary['selecting']} x 100 chooses: its mean over a cell's runs, the first cell where means are equal.",
        "",
        "| cell | mean | sd | runs | |",
        "|---|---|---|---|---|",
    ]
    for cell in summary["cells"]:
        val, mark = cell["val"], "**best**" if best and best["cell"] == cell["cell"] else ""
        runs = ", ".join(f"{100 * value:.2f}" for value in val["values"])
        mark = mark if cell["whole"] else "not all runs finished"
        lines.append(f"| {cell['label']} | {_times_100(val['mean'])} | {_times_100(val['sd'])} | {runs} | {mark} |")
    lines += ["", *(_best_lines(summary) if best else [_no_best(summary)])]
    lines += [f"- failed: `{each['run']}`: {' '.join(each['error'].split())}" for each in summary["failed"]]
    for each in summary["left"]:
        by = f" on {each['process']['host']}, process {each['process']['pid']}" if each["process"] else ""
        lines.append(f"- {each['state']}: `{each['run']}`{by if each['state'] == 'running' else ''}")
    return "\n".join(lines) + "\n"


def _best_lines(summary: dict[str, Any]) -> list[str]:
    best = summary["best"]
    test = best["test"]
    interval = f"no interval: it takes {FEWEST} runs"
    if test["interval"] is not None:
        low, high = test["interval"]
        interval = (
            f"{100 * test['level']:g} % interval {100 * low:.2f} to {100 * high:.2f} ({test['method']} bootstrap over "
            f"runs, {test['resamples']:,} resamples, seed {test['seed']}{_few(len(test['values']))})"
        )
    rows = [
        f"| {each['seed']} | {'-' if each['draw'] is None else each['draw']} | {_times_100(each['val'])} "
        f"| {_times_100(each['test'])} | `{each['run']}` |"
        for each in best["runs"]
    ]
    return [
        f"Best: {best['label']}. {summary['reported']} x 100: mean {_times_100(test['mean'])}, "
        f"sd {_times_100(test['sd'])} (n - 1), {interval}.{' Note: ' + best['note'] + '.' if 'note' in best else ''}",
        "",
        "| seed | draw | val | test | folder |",
        "|---|---|---|---|---|",
        *rows,
        "",
    ]


def _few(runs: int) -> str:
    return f"; too narrow for {runs} runs, see statistics.spread" if runs < MANY else ""


def _no_best(summary: dict[str, Any]) -> str:
    if summary["state"] == "unfinished":
        return f"No best cell yet: {summary['runs']['left']} of {summary['runs']['planned']} runs are left."
    return "No best cell: none has all its runs finished."


def _times_100(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def write_summary(
    folder: Path,
    outcomes: Sequence[Outcome],
    grid: Grid,
    description: dict[str, Any],
    selecting: str,
    headline: str,
) -> dict[str, Any]:
    """summary.json and summary.md in the study folder; returns what the former holds."""
    text = json.dumps({**summarise(outcomes, grid, selecting, headline), "study": description}, indent=2) + "\n"
    summary = json.loads(text)
    files = {SUMMARY: text, TABLE: as_markdown(summary)}
    write_files_whole(folder, {name: text.encode("utf-8") for name, text in files.items()})
    return summary
