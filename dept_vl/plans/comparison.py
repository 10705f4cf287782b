"""A plan's methods side by side: score with interval, sizes, times, forgetting, PSCP, and what seeds and rates do.

PSCP, the score of PEFT-Bench (Belanec et al. 2025, arXiv:2511.21285), takes something off the score for what a method
costs:

    PSCP = P (1 + Mp / 5e8)^-1 (1 + Mf / 10)^-1 (1 + Mm / 94)^-1

with P the score in points, Mp the trained weights, Mf the cost of inference and Mm the memory of training. The paper's
last two are a GPU's; here Mf is 10^12 operations of answering a row and Mm 10^9 bytes that training holds (the frozen
model, the trained weights four times for gradients and AdamW's averages, and what a step keeps), both counted. At the
size of small models all three factors are close to 1, so PSCP then ranks as the score does.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from dept_vl.plans.claims import Judged
from dept_vl.plans.item_error import item_error
from dept_vl.plans.page import batch_of, rates_of
from dept_vl.plans.schema import Cell, Number, PlanFile
from dept_vl.plans.significance import error_of
from dept_vl.plans.spread import Spread, spread
from dept_vl.plans.table import FORGETTING, Repeat, Table, values
from dept_vl.plans.tune import Chosen, beside
from dept_vl.plans.verdicts import judge_all

PSCP_WEIGHTS, PSCP_TERAFLOPS, PSCP_GIGABYTES = 5e8, 10.0, 94.0  # PEFT-Bench's constants


@dataclass(frozen=True)
class Method:
    """A row. score: over the repeats that have all tasks, points; by_task: over each task's own. missing: what of its
    runs is not finished. seconds: of training. memory_mb: 10^6 bytes that training holds, counted. step_ms, answer_ms,
    folded_ms: medians over the rounds. forgetting: nats per token. around: the score at a multiple of the tuned rates,
    less that at the tuned ones with the same seeds. beside: the score less the baseline's, judged with all the others'.
    runs: the folders."""

    cell: Cell
    score: Spread | None
    by_task: dict[str, Spread]
    finished: int
    wanted: int
    missing: tuple[str, ...]
    weights: Number | None = None
    file_bytes: Number | None = None
    seconds: float | None = None
    step_ms: float | None = None
    memory_mb: float | None = None
    answer_ms: float | None = None
    folded_ms: float | None = None
    forgetting: float | None = None
    pscp: float | None = None
    around: dict[Number, float] = field(default_factory=dict)
    beside: Judged | None = None
    chosen: Chosen | None = None
    steps: str = ""
    batch: int = 0
    rates: str = ""
    command: str = ""
    runs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.cell.name

    @property
    def shown_rates(self) -> str:
        """ "prompt 0.19 (3.16 x the starting rates, chosen by 3 trials, at the edge)"."""
        if self.chosen is None or self.chosen.trials < 2:
            return self.rates
        edge = ", at the edge" if self.chosen.at_edge else ""
        return (
            f"{self.rates} ({self.chosen.factor:g} x the starting rates, chosen by {self.chosen.trials} trials{edge})"
        )


def compare_methods(table: Table, command: str) -> list[Method]:
    """Every compared cell but those at multiples of tuned rates, the highest score first, those without one last.
    command: does the plan."""
    plan = table.plan
    around = plan.tune.around if plan.tune else ()
    neighbours = {beside(cell.name, factor) for cell in plan.cells for factor in around}
    verdicts = {
        each.claim.first: each for each in judge_all([table])[plan.name] if each.claim.second == (plan.baseline,)
    }
    methods = [
        _method(table, cell, command, verdicts.get((cell.name,)))
        for cell in plan.compared()
        if cell.name not in neighbours
    ]
    return sorted(methods, key=lambda each: (each.score is None, -(each.score.mean if each.score else 0.0)))


def _method(table: Table, cell: Cell, command: str, judged: Judged | None) -> Method:
    name, done = cell.name, [place for place in table.done if place.cell == cell.name]
    found = values(table, "score", [name])
    weights = _mean(table, "weights", name)
    memory = _memory(table, name)
    gflops = _cost(table, "cost_eval_gflops", name)
    score = _spread(table, name, list(found.values()))
    return Method(
        cell=cell,
        score=score,
        by_task={task: each for task in cell.tasks if (each := _of_task(table, name, task)) is not None},
        finished=len(done),
        wanted=sum(place.cell == name for place in table.wanted),
        missing=_missing(table, name),
        weights=weights,
        file_bytes=_mean(table, "file_bytes", name),
        seconds=_mean(table, "train_seconds", name),
        step_ms=_cost(table, "cost_train_ms", name),
        memory_mb=memory,
        answer_ms=_cost(table, "cost_eval_ms", name),
        folded_ms=_cost(table, "cost_folded_ms", name),
        forgetting=_mean(table, FORGETTING, name),
        pscp=None if None in (score, memory, gflops) else pscp(score.mean, weights, gflops / 1e3, memory / 1e3),
        around=_around(table, name, found),
        beside=judged,
        chosen=table.plan.tuned.get(name),
        steps=_steps(table, cell),
        batch=batch_of(cell),
        rates=rates_of(cell, cell.tasks[0]),
        command=f'{command} --cells "{name}"',
        runs=tuple(place.run for place in table.wanted if place.cell == name),
    )


def pscp(score: Number, weights: Number, teraflops: Number, gigabytes: Number) -> float:
    """PEFT-Bench's score, in the unit of `score`."""
    penalties = (1 + weights / PSCP_WEIGHTS) * (1 + teraflops / PSCP_TERAFLOPS) * (1 + gigabytes / PSCP_GIGABYTES)
    return score / penalties


def _spread(table: Table, cell: str, found: Sequence[float], tasks: Sequence[str] = ()) -> Spread | None:
    if not found:
        return None
    items = item_error(table, [cell], tasks=tasks) if len(found) > 1 else None
    error = error_of(found, items=items[0], number=items[1]) if items else None
    return spread(found, error=error)


def _of_task(table: Table, cell: str, task: str) -> Spread | None:
    return _spread(table, cell, list(values(table, "score", [cell], tasks=[task]).values()), [task])


def _mean(table: Table, measure: str, cell: str) -> float | None:
    """Over all finished runs, so that an unfinished method has one too."""
    tasks = table.plan.cell(cell).tasks
    found = [each for task in tasks for each in values(table, measure, [cell], tasks=[task]).values()]
    return statistics.fmean(found) if found else None


def _cost(table: Table, measure: str, cell: str) -> float | None:
    found = values(table, measure, [cell]).values()
    return statistics.median(found) if found else None


def _memory(table: Table, cell: str) -> float | None:
    kept, held = _cost(table, "cost_memory_mb", cell), _mean(table, "held_mb", cell)
    return None if kept is None or held is None else kept + held


def _steps(table: Table, cell: Cell) -> str:
    found = {value for task in cell.tasks for value in values(table, "steps", [cell.name], tasks=[task]).values()}
    return ", ".join(f"{each:,.0f}" for each in sorted(found)) or "-"


def _around(table: Table, cell: str, found: dict[Repeat, float]) -> dict[Number, float]:
    changes = {}
    for multiple in table.plan.tune.around if table.plan.tune else ():
        name = beside(cell, multiple)
        if name not in {each.name for each in table.plan.cells}:
            continue
        there = values(table, "score", [name])
        common = [each for each in there if each in found]
        if common:
            changes[multiple] = statistics.fmean(there[each] - found[each] for each in common)
    return changes


def _missing(table: Table, cell: str) -> tuple[str, ...]:
    """ "shapes-squad: seeds 4, 5"."""
    done = set(table.done)
    lines = []
    for task in table.plan.cell(cell).tasks:
        left = [place.seed for place in table.wanted if (place.cell, place.task) == (cell, task) and place not in done]
        lines += [f"{task}: seeds {', '.join(map(str, left))}"] if left else []
    return tuple(lines)


def plan_command(plan: PlanFile, more: str = "") -> str:
    """The command that does the plan."""
    return " ".join(filter(None, ("dept-vl plan", str(plan.path), more)))
