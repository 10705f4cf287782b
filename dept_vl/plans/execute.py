"""Do plans from start to end: run, measure, and write each plan's table, figures and verdicts."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor
from dataclasses import dataclass
from pathlib import Path

from dept_vl.plans.claims import Judged
from dept_vl.plans.costs import cost_runs, costs_path, measure_costs
from dept_vl.plans.figures import write_figures
from dept_vl.plans.forgotten import Measure, measure_forgotten, measured_cells, to_measure
from dept_vl.plans.pool import PAUSE, LostWorker, Say, Work, run_all, work
from dept_vl.plans.runs import RESULTS, Run, Schedule
from dept_vl.plans.schema import COMPARISON, PlanFile
from dept_vl.plans.settings import BadPlan
from dept_vl.plans.store import Row, known_costs, known_runs
from dept_vl.plans.summary import as_markdown
from dept_vl.plans.table import Table, read_table
from dept_vl.plans.workers import processes
from dept_vl.run import notes
from dept_vl.run.forgetting import measure_forgetting
from dept_vl.untrusted.folder_lock import FolderInUse
from dept_vl.untrusted.whole_files import write_files_whole

_USUAL = 15, 128  # rounds and rows of the timing of costs
_MANY = 5, 16  # of the many methods of a comparison, which claims nothing of them
_FAST = 3, 16


@dataclass(frozen=True)
class How:
    """root: of all runs. jobs: runs at once. again: try failed runs once more. values: single values of runs that need
    not be done (`store`). work, pool, forget: for tests."""

    root: Path
    say: Say
    jobs: int = 1
    again: bool = False
    fast: bool = False
    values: Sequence[Row] = ()
    work: Work = work
    pool: Callable[[int], Executor] = processes
    forget: Measure = measure_forgetting

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise BadPlan(f"--jobs: wanted at least 1, given {self.jobs}")
        if self.fast and self.values:
            raise BadPlan("--values: are of whole runs; wanted it without --fast")
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise BadPlan("wanted one process a run, given accelerate launch with several: start this several times")


def do(plans: Sequence[PlanFile], schedule: Schedule, how: How) -> dict[str, str]:
    """Run and measure what is left of the plans; the reasons of runs that failed, by name."""
    costs = {plan.name: _costs_left(plan, schedule, how) for plan in plans if plan.costed()}
    sources = {name for needed in costs.values() for each in needed.values() for name in each.sources}
    known = known_runs(plans, schedule, how.values, sources)
    known = {name for name in known if not (schedule.runs[name].folder / RESULTS).exists()}
    runs = {name: each for name, each in schedule.of(*plans).items() if name not in known}
    if known:
        how.say(f"{len(known)} runs are not done, since their values are kept")
    by_task = {each.config.task.name: each.config for each in runs.values()}
    for note in dict.fromkeys(note for config in by_task.values() for note in notes(config)):
        how.say(note)
    failed = run_all(runs, jobs=how.jobs, say=how.say, again=how.again, work=how.work, pool=how.pool)
    for plan in (each for each in plans if each.costed()):
        rounds, rows = _FAST if how.fast else _MANY if plan.view == COMPARISON else _USUAL
        path = costs_path(plan, how.root)
        if needed := costs[plan.name]:
            if lost := failed.keys() & {name for each in needed.values() for name in each.sources}:
                how.say(f"time and memory of {plan.name}: not measured, since runs failed: {', '.join(sorted(lost))}")
                continue
            how.say(f"time and memory of {plan.name}, with nothing beside it")
            configs = {name: each.config for name, each in needed.items()}
            with how.pool(1) as executor:
                while True:
                    try:
                        executor.submit(measure_costs, configs, path, rounds=rounds, rows=rows).result()
                        break
                    except FolderInUse:  # another command measures them
                        time.sleep(PAUSE)
    for plan in (each for each in plans if measured_cells(each)):
        finished = [(each.place, each.folder) for each in read_table(plan, schedule, how.root).outcomes]
        if left := to_measure(plan, finished, how.root):
            how.say(f"forgetting of {plan.name}, on {plan.forgetting}: {len(left)} runs")
            parts = [left[start :: how.jobs] for start in range(min(how.jobs, len(left)))]
            with how.pool(how.jobs) as executor:
                waited = [executor.submit(measure_forgotten, plan, part, how.root, how.forget) for part in parts]
                try:
                    for each in waited:
                        each.result()
                except BrokenExecutor as error:
                    raise LostWorker(f"{plan.name}: wanted a process for its forgetting, but one was killed") from error
    return failed


def _costs_left(plan: PlanFile, schedule: Schedule, how: How) -> dict[str, Run]:
    """The runs whose time and memory are to be measured; none where they are known."""
    known = costs_path(plan, how.root).exists() or known_costs(plan, schedule, how.values)
    return {} if known else cost_runs(plan, how.root)


def write_table(table: Table, folder: Path, failed: Mapping[str, str]) -> str:
    """table.md, of the runs that are here, and table.csv into `folder`; returns the former."""
    text = as_markdown(table, failed)
    write_files_whole(folder, {"table.md": text.encode(), "table.csv": table.as_csv().encode()})
    return text


def tell_claims(table: Table, figures: Path, say: Say, judged: Sequence[Judged]) -> None:
    """Draw the figures and say each claim with its verdict."""
    for each in judged:
        corrected = f" (of {each.family} claims corrected together)" if each.family else ""
        say(f"  {each.claim.name}\n    published: {each.claim.published}\n    ours: {each.ours}\n"
            f"    {each.judgement}{corrected}")  # fmt: skip
    for name in write_figures(table, figures):
        say(f"  {figures / name}.png and .csv")
