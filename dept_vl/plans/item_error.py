"""How far other test items would move a mean score: from the predictions of finished runs.

An item's part of a score is its own score where the score is a mean over items, and otherwise its jackknife
pseudo-value (Tukey 1958), N score - (N - 1) score without it, which is the same for a mean. The standard error is that
of the mean of these parts, each averaged over the runs. Items that count together (`Example.group`) are one item.
"""

import functools
import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from dept_vl.plans.compare_runs import FinishedRun, is_mean, read_run
from dept_vl.plans.paired import units_of
from dept_vl.plans.table import Repeat, Table, values
from dept_vl.tasks import CaptionTask

ITEM_ERROR, ITEMS = "item_error", "items"  # a cell's on a task, among stored values
_SAME = 1e-9


def item_error(
    table: Table, first: Sequence[str], second: Sequence[str] = (), *, tasks: Sequence[str] = (), claim: str = ""
) -> tuple[float, int] | None:
    """The standard error, in points, of the mean score of the `first` cells, less that of the `second`, over other test
    items; and the number of items. It is of the repeats that all of these cells have. None where the predictions are
    not here, where runs of a task have other items or a single one, and for captions, whose CIDEr weighs words by all
    references. Of stored values those of one cell are known, and those of a claim by its name.
    """
    if claim and table.stored is not None:
        return stored_error(table, first[:1], "", claim)
    squares, number = 0.0, 0
    found = dict.fromkeys(task for cell in (*first, *second) for task in table.plan.cell(cell).tasks)
    counted = [task for task in found if not tasks or task in tasks]
    repeats = common_repeats(table, first, second, tasks)
    for task in counted:
        if table.stored is not None:
            known = stored_error(table, first, task)
            if known is None or second:
                return None
            squares, number = squares + (known[0] / 100) ** 2, number + known[1]
            continue
        outcomes = [[each for cell in side for each in table.of(cell, task)] for side in (first, second)]
        sides = [
            [item_parts(each.folder) for each in side if (each.place.seed, each.place.draw) in repeats]
            for side in outcomes
        ]
        runs = [run for side in sides for run in side]
        if not sides[0] or (second and not sides[1]) or None in runs or len({run.items for run in runs}) > 1:
            return None
        means = [np.mean([run.parts for run in side], axis=0) if side else 0.0 for side in sides]
        of_item = means[0] - means[1]
        if len(of_item) < 2:
            return None
        squares += float(of_item.var(ddof=1)) / len(of_item)
        number += len(of_item)
    return 100 * math.sqrt(squares) / len(counted), number


def common_repeats(table: Table, first: Sequence[str], second: Sequence[str], tasks: Sequence[str]) -> set[Repeat]:
    """Those that all of the cells have on all of the tasks."""
    return set.intersection(*(set(values(table, "score", each, tasks=tasks)) for each in (first, second) if each))


def stored_error(table: Table, cells: Sequence[str], task: str, claim: str = "") -> tuple[float, int] | None:
    """Of one cell on one task, or of a claim under its first cell, as an earlier page kept it, of most repeats."""
    if table.stored is None or len(cells) != 1:
        return None
    error, items = (table.stored.get((name, claim, cells[0], task), {}) for name in (ITEM_ERROR, ITEMS))
    return (error[max(error)], int(items[max(items)])) if error and items else None


class ItemParts(NamedTuple):
    """items: a hash of what they are, in their order. parts: each one's part of the score, a fraction."""

    items: str
    parts: Float[np.ndarray, " item"]


@functools.lru_cache(maxsize=4096)
def item_parts(folder: Path) -> ItemParts | None:
    """Of the reported test score of a finished run; None without its predictions."""
    if not (folder / "predictions.jsonl").exists() or not (folder / "config.yaml").exists():
        return None
    run = read_run(folder)
    if isinstance(run.task, CaptionTask):
        return None
    items = [(each.id, each.references, each.group) for each in run.examples]
    return ItemParts(hashlib.sha256(repr(items).encode()).hexdigest(), parts_of(run, run.task.headline))


def parts_of(run: FinishedRun, metric: str) -> Float[np.ndarray, " item"]:
    """In the order of the items. Items of a class that were answered alike are scored once."""
    examples, units = run.examples, units_of(run.examples)
    answers = [run.predictions[each.id] for each in examples]

    def score(rows: Sequence[int]) -> float:
        kept = {examples[row].id: answers[row] for row in rows}
        return float(run.task.score(kept, [examples[row] for row in rows])[metric])

    def each_unit(part: Callable[[Sequence[int]], float]) -> Float[np.ndarray, " item"]:
        known: dict[object, float] = {}
        found = []
        for unit in units:
            first, is_class = unit[0], bool(run.task.candidates) and len(unit) == 1
            alike = (examples[first].references, answers[first]) if is_class else first
            if alike not in known:
                known[alike] = part(unit)
            found.append(known[alike])
        return np.array(found)

    whole, rows, number = float(run.scores[metric]), range(len(examples)), len(units)
    if is_mean(run.task, metric):
        alone = each_unit(score)
        if abs(alone.mean() - whole) < _SAME:
            return alone
    left = each_unit(lambda unit: score([row for row in rows if row not in set(unit)]))
    return number * whole - (number - 1) * left
