"""What a plan came to, as Markdown: every cell by its scores, and the pick by validation with its test scores."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dept_vl.plans.schema import PlanFile
from dept_vl.plans.settings import BadPlan, flat
from dept_vl.plans.spread import FEWEST, Spread, spread
from dept_vl.plans.table import Outcome, Table
from dept_vl.run.results import MULTI

_EQUAL = 1e-9  # means that differ by less are equal: the rest is rounding
_SELECTS = (
    "metric_for_best_model", "task.root", "task.protocol", "task.k_shot", "task.k_shot_total", "task.eval_split",
    "task.few_shot_val", "task.max_eval_samples",
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A cell on a task. outcomes: the finished ones. whole: all are."""

    cell: str
    outcomes: tuple[Outcome, ...]
    whole: bool

    @property
    def val(self) -> list[float]:
        return [each.val for each in self.outcomes if each.val is not None]

    @property
    def test(self) -> list[float]:
        return [each.test for each in self.outcomes]


def check_pick(plan: PlanFile) -> None:
    """Raises: BadPlan for cells that no validation score can choose among."""
    by_task: dict[str, list[Any]] = {}
    for cell in plan.compared():
        for task in cell.tasks:
            by_task.setdefault(task, []).append(cell)
    for task, cells in by_task.items() if plan.pick else ():
        settings = [flat(cell.settings) for cell in cells]
        for key in _SELECTS:
            given = list(dict.fromkeys(str(each.get(key)) for each in settings))
            if len(given) > 1:
                raise BadPlan(
                    f"{plan.path}: pick: cells with another {key} are not validated alike; wanted one for {task}, "
                    f"given {', '.join(given)}: a plan for each"
                )
        if len(cells) > 1 and not all(each.get("eval_steps") for each in settings):
            raise BadPlan(
                f"{plan.path}: eval_steps: wanted more than 0, given 0: {len(cells)} cells are compared on the "
                "validation split, and the test split never chooses"
            )


def lines_of(table: Table, task: str) -> list[Line]:
    """The compared cells on a task, in the plan's order."""
    lines = []
    for cell in table.plan.compared():
        wanted = [each for each in table.wanted if (each.cell, each.task) == (cell.name, task)]
        if wanted:
            found = tuple(table.of(cell.name, task))
            lines.append(Line(cell.name, found, len(found) == len(wanted)))
    return lines


def pick(lines: Sequence[Line]) -> Line | None:
    """The line with the highest mean validation score, the first of those that are equal; only whole ones take part."""
    whole = [line for line in lines if line.whole and (line.val or len(lines) == 1)]
    if len(lines) == 1 or not whole:
        return whole[0] if whole else None
    return whole[first_best([statistics.fmean(line.val) for line in whole])]


def first_best(means: Sequence[float]) -> int:
    """The place of the greatest, the first of those that are equal to it."""
    return next(place for place, mean in enumerate(means) if mean >= max(means) - _EQUAL)


def as_markdown(table: Table, failed: Mapping[str, str]) -> str:
    """A table for each task, scores x 100. With a pick: of validation scores, and the test scores of the pick alone."""
    plan, tasks = table.plan, dict.fromkeys(place.task for place in table.wanted)
    head = (
        f"{len(table.outcomes)} of {len(table.wanted)} runs are finished. Single-task, but for cells marked multi-task."
    )
    parts = [f"# {plan.title or plan.name}", "", head]
    sources = {each.name for each in plan.cells} - {each.name for each in plan.compared()}
    for task in tasks:
        lines = lines_of(table, task)
        if lines:
            parts += ["", f"## {task}", "", *(_picked(lines, _left(table, failed)) if plan.pick else _scored(lines))]
    if sources and not plan.pick:
        parts += ["", f"Sources: {', '.join(sorted(sources))}."]
    parts += ["", *(f"- failed: `{name}`: {' '.join(reason.split())}" for name, reason in failed.items())]
    return "\n".join(parts).rstrip() + "\n"


def _left(table: Table, failed: Mapping[str, str]) -> int:
    done = {each.place for each in table.outcomes}
    return sum(place not in done and place.run not in failed for place in table.wanted)


def _scored(lines: Sequence[Line]) -> list[str]:
    rows = []
    for line in lines:
        steps = _mean(float(each.log()[-1]["step"]) for each in line.outcomes if each.log())
        facts = [steps, _mean(each.seconds for each in line.outcomes), _mean(each.weights for each in line.outcomes)]
        rows.append(f"{_row(line, line.test)} {' | '.join(facts)} |")
    return ["| cell | test mean | sd | runs | steps | train s | weights |", "|---" * 7 + "|", *rows]


def _picked(lines: Sequence[Line], left: int) -> list[str]:
    best = None if left else pick(lines)
    rows = [
        f"{_row(line, line.val)} {'**best**' if line is best else '' if line.whole else 'not all runs finished'} |"
        for line in lines
    ]
    head = ["| cell | val mean | sd | runs | |", "|---" * 5 + "|", *rows, ""]
    if left:
        return [*head, f"No best cell yet: {left} runs of the plan are left."]
    return [*head, *(_best(best) if best else ["No best cell: none has all its runs finished."])]


def _row(line: Line, scores: Sequence[float]) -> str:
    each = ", ".join(f"{100 * value:.2f}" for value in scores)
    name = f"{line.cell} (multi-task)" if MULTI in {each.regime for each in line.outcomes} else line.cell
    return f"| {name} | {times_100(statistics.fmean(scores) if scores else None)} | {_sd(scores)} | {each} |"


def _best(best: Line) -> list[str]:
    test, places = spread(best.test), [each.place for each in best.outcomes]
    crossed = all(len({getattr(each, name) for each in places}) > 1 for name in ("seed", "draw"))
    note = " Runs that share a seed or a draw are not independent: the interval is too narrow." if crossed else ""
    rows = [
        f"| {at.seed} | {at.draw} | {times_100(each.val)} | {times_100(each.test)} | `{at.run}` |"
        for at, each in zip(places, best.outcomes, strict=True)
    ]
    return [
        f"Best: {best.cell}. Test x 100: mean {times_100(test.mean)}, sd {times_100(test.sd)} (n - 1), "
        f"{_interval(test)}.{note}",
        "",
        "| seed | draw | val | test | run |",
        "|---|---|---|---|---|",
        *rows,
    ]


def _interval(test: Spread) -> str:
    if test.interval is None:
        return "no interval: all runs agree" if len(test.values) >= FEWEST else f"no interval: it takes {FEWEST} runs"
    low, high = test.interval
    return f"{100 * test.level:g} % interval {100 * low:.2f} to {100 * high:.2f} (t over {len(test.values)} runs)"


def _mean(values: Iterable[float]) -> str:
    values = list(values)
    return f"{statistics.fmean(values):,.0f}" if values else "-"


def _sd(scores: Sequence[float]) -> str:
    return times_100(statistics.stdev(scores) if len(scores) > 1 else None)


def times_100(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
