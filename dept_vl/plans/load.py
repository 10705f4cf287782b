"""Load a plan: merge its files, cross its grid, link cells to the cells they need, check every name."""

import dataclasses
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dept_vl.config import Experiment
from dept_vl.plans.borrowed import borrow
from dept_vl.plans.quoted import fill
from dept_vl.plans.schema import (
    BEST,
    CLAIM_KINDS,
    COMPARISON,
    MEASURED,
    ORIGINS,
    PLOT_KINDS,
    Cell,
    Claim,
    Needs,
    PlanFile,
    Stop,
    Tune,
    with_k,
)
from dept_vl.plans.settings import BadPlan, Settings, build, check_keys, find_file, flat, label, merge, nested, read
from dept_vl.registry import did_you_mean

FAST: Settings = {
    "max_steps": 12,
    "max_seconds": None,
    "eval_steps": 6,
    "save_steps": 0,
    "logging_steps": 3,
    "per_device_train_batch_size": 8,
    "optim": {"warmup_steps": 2},
    "task": {"max_train_samples": 128, "max_eval_samples": 32, "max_test_samples": 48},
    "progressive": {"score_rows": 16},
}
"""Settings of --fast, which shows that everything runs and no more."""
DRAWS = (0, 1, 2)  # of a few-shot task; DePT and DPT report three
MOST_STEPS = 1_000_000  # of a run that stops by seconds
KEPT = {
    "seed": "seeds",
    "output_dir": "--output_dir",
    "task.name": "tasks",
    "task.draw": "draws",
    "resume_from_checkpoint": "the same command again, which resumes",
}
"""Settings that belong to the plan, and what says them there."""


@dataclass(frozen=True)
class Changes:
    """What a command changes in a plan. files: settings of --config files, above the plan's shared ones and below its
    cells'. flags: above everything. grid: axes that replace the file's or join them. defaults: settings below all of
    the plan's."""

    files: Settings = field(default_factory=dict)
    flags: Settings = field(default_factory=dict)
    grid: Mapping[str, list[Any]] = field(default_factory=dict)
    seeds: Sequence[int] = ()
    draws: Sequence[int] = ()
    fast: bool = False
    defaults: Settings = field(default_factory=dict)


UNCHANGED = Changes()


def load_plan(path: Path, changes: Changes = UNCHANGED) -> PlanFile:
    """A plan file with its cells complete. Raises: BadPlan."""
    return complete(build(PlanFile, read(path), f"{path}: ", path=path, tuned={}), changes)


def load_plans(folder: Path, changes: Changes = UNCHANGED) -> dict[str, PlanFile]:
    """The plans of a folder by name. Raises: BadPlan."""
    return {path.stem: load_plan(path, changes) for path in sorted(folder.glob("*.yaml"))}


def complete(plan: PlanFile, changes: Changes) -> PlanFile:
    """Cells with all their settings, tasks, seeds and draws; the grid crossed in. Raises: BadPlan."""
    where = f"{plan.path}: "
    plan = borrow(fill(plan))
    grid = {**plan.grid, **changes.grid}
    _check_settings(f"{where}experiment.", plan.experiment)
    for key in grid:
        _check_settings(f"{where}grid: ", nested({key: None}))
    for name in (KEPT.keys() - {"task.name"}) & flat(changes.flags).keys():
        raise BadPlan(f"--{name}: wanted {KEPT[name]} for it, given a flag of the experiment")
    shared = merge(changes.defaults, {"task": {"protocol": plan.protocol}} if plan.protocol else {})
    shared = merge(shared, _merged(plan, plan.base))
    shared = merge(merge(shared, plan.experiment), _stop_settings(where, plan.stop))
    shared = merge(shared, changes.files)
    for given in (changes.files, changes.flags):
        name = given.get("task", {}).get("name")
        if name is not None and (plan.tasks or any(cell.task or cell.tasks for cell in plan.cells)):
            raise BadPlan(f"{where}task.name: wanted the plan's own tasks, given {name} by the command")
    plan = dataclasses.replace(plan, grid=grid, seeds=tuple(changes.seeds) or plan.seeds, tune=_tune(plan, changes))
    cells = tuple(
        _complete(plan, dataclasses.replace(cell, name=name), values, shared, changes)
        for cell, name, values in _crossed(plan)
    )
    plan = dataclasses.replace(plan, cells=_linked(plan, cells))
    if plan.baseline:
        plan = dataclasses.replace(plan, claims=(*plan.claims, *_above(plan)))
    _check_plan(plan)
    return plan


def _above(plan: PlanFile) -> list[Claim]:
    """That each other cell scores higher than the baseline."""
    _check_cell(f"{plan.path}: baseline: ", plan, plan.baseline)
    asked, others = "a question of our own", [cell.name for cell in plan.compared() if cell.name != plan.baseline]
    return [
        Claim(f"{name} scores higher than {plan.baseline}", asked, first=(name,), second=(plan.baseline,))
        for name in others
    ]


def _tune(plan: PlanFile, changes: Changes) -> Tune | None:
    """Its own settings stay below the flags, too; with --fast there are none, and one seed."""
    tune, flags = plan.tune, flat(changes.flags)
    if tune is None:
        return None
    if changes.fast:
        return dataclasses.replace(tune, seeds=tune.seeds[:1], around_seeds=tune.around_seeds[:1], settings={})
    given = nested({name: flags[name] for name in flat(tune.settings) if name in flags})
    return dataclasses.replace(tune, settings=merge(tune.settings, given))


def _crossed(plan: PlanFile) -> Iterable[tuple[Cell, str, Settings]]:
    """Every cell with every combination of the grid: the cell, its name, the combination as dotted settings."""
    for cell, values in itertools.product(plan.cells, itertools.product(*plan.grid.values())):
        combination = dict(zip(plan.grid, values, strict=True))
        name = cell.name or (with_k(cell.task, cell.k) if cell.task else label(flat(cell.settings)))
        if twice := combination.keys() & flat(cell.settings).keys():
            raise BadPlan(f"{plan.path}: wanted each key in cells or in grid, given {', '.join(sorted(twice))} in both")
        yield cell, ", ".join(filter(None, (name, label(combination)))) or "as it is", combination


def _complete(plan: PlanFile, cell: Cell, values: Settings, shared: Settings, changes: Changes) -> Cell:
    where = f"{plan.path}: cell {cell.name}: "
    _check_settings(f"{where}settings.", cell.settings)
    rates = {**Experiment().optim.lr, **shared.get("optim", {}).get("lr", {})}
    for key in values:
        group = key.removeprefix("optim.lr.")
        if group != key and group not in rates:
            raise BadPlan(f"{where}{key}: wanted a rate of {', '.join(rates)}.{did_you_mean(group, rates)}")
    if cell.same_as is not None:
        if cell.settings or cell.base or cell.needs or cell.sources or cell.stop or values:
            raise BadPlan(
                f"{where}wanted same_as alone, given settings, base, needs, sources, stop or a grid beside it"
            )
        settings = _settings_of(plan, cell, changes)
    else:
        settings = merge(merge(shared, _merged(plan, cell.base)), merge(cell.settings, nested(values)))
        settings = merge(settings, _stop_settings(where, cell.stop))
        frozen = {"max_steps": 0} if settings.get("max_steps") == 0 else {}  # nothing trains there, however long
        settings = merge(merge(settings, FAST), plan.fast) if changes.fast else settings
        if (name := changes.flags.get("adapter", {}).get("name")) is not None:  # single arguments go over its own
            settings = merge(settings, {"adapter": {"name": name}})
        settings = merge(merge(settings, changes.flags), frozen)
    task = settings.get("task", {})
    few_shot = task.get("k_shot") is not None or task.get("k_shot_total") is not None
    draws = cell.draws or tuple(changes.draws) or plan.draws or (DRAWS if few_shot else (0,))
    if not few_shot and draws != (0,):
        raise BadPlan(f"{where}draws: wanted a few-shot task (task.k_shot or task.k_shot_total), given all examples")
    own = tuple(task.get("mixture") or task.get("name", "vqa").split(","))
    tasks = (cell.task,) if cell.task else cell.tasks or plan.tasks or own
    seeds = cell.seeds or plan.seeds or (settings.get("seed", Experiment().seed),)
    if changes.fast:
        seeds, draws = seeds[:1], draws[:1]
    for name, given in (("seeds", seeds), ("draws", draws), ("tasks", tasks)):
        if again := [each for place, each in enumerate(given) if each in given[:place]]:
            raise BadPlan(f"{where}{name}: wanted each once, given {again[0]} twice")
    changed = {"settings": settings, "tasks": tasks, "seeds": tuple(seeds), "draws": tuple(draws)}
    if settings.get("max_steps") == 0:  # a frozen model has no step to time, and forgets nothing
        changed["measure"] = ("score",)
    return dataclasses.replace(cell, **changed)


def _settings_of(plan: PlanFile, cell: Cell, changes: Changes) -> Settings:
    """Those of the cell that `same_as` names, in the plan file of that name beside this one."""
    where = f"{plan.path}: cell {cell.name}: same_as: "
    name, _, other = str(cell.same_as).partition("/")
    names = [each.stem for each in sorted(plan.path.parent.glob("*.yaml"))]
    if name not in names:
        raise BadPlan(f"{where}wanted a plan, given {name!r}.{did_you_mean(name, names)}")
    path = plan.path.with_name(f"{name}.yaml")
    theirs = build(PlanFile, read(path), f"{path}: ", path=path, tuned={})
    _check_cell(where, theirs, other)
    given = theirs.cell(other)
    if given.same_as or given.needs or given.sources:
        raise BadPlan(
            f"{where}wanted the cell that holds the settings, given {cell.same_as}, which takes them elsewhere"
        )
    return (
        complete(dataclasses.replace(theirs, cells=(given,), grid={}, claims=(), plots=()), changes)
        .cell(other)
        .settings
    )


def _linked(plan: PlanFile, cells: tuple[Cell, ...]) -> tuple[Cell, ...]:
    """A cell that needs a source of several tasks becomes one cell for each of them. What a cell needs stands before
    it."""
    found: list[Cell] = []
    for cell in cells:
        if cell.sources is not None:
            _, _, sources = _link(plan, found, cell, "sources")
            cell = dataclasses.replace(cell, sources=sources)
        if cell.needs is None:
            found.append(cell)
            continue
        source, tasks, needs = _link(plan, found, cell, "needs")
        if source.settings.get("task", {}).get("mixture"):  # one run, whatever its tasks
            found.append(dataclasses.replace(cell, needs=needs))
            continue
        for task in tasks:
            name = f"{cell.name}: {task}" if len(tasks) > 1 else cell.name
            found.append(dataclasses.replace(cell, name=name, needs=dataclasses.replace(needs, task=task)))
    return tuple(found)


def _link(plan: PlanFile, before: Sequence[Cell], cell: Cell, key: str) -> tuple[Cell, list[str], Needs]:
    """The cell that `key` of a cell names, its tasks that count, and the link with its seed."""
    where, needs = f"{plan.path}: cell {cell.name}: {key}: ", getattr(cell, key)
    names = [each.name for each in before]
    if needs.cell not in names:
        given = f"given {needs.cell!r}.{did_you_mean(needs.cell, names)}"
        raise BadPlan(f"{where}wanted a cell of {plan.name} before it, {', '.join(names) or 'none'}, {given}")
    source = before[names.index(needs.cell)]
    tasks = [each for each in source.tasks if needs.task in (None, each)]
    seeds = [each for each in source.seeds if needs.seed in (None, each)]
    scored = "score" in source.measure and len(source.draws) == 1
    if not (tasks and seeds and scored) or (len(seeds) > 1 and not set(cell.seeds) <= set(seeds)):
        raise BadPlan(
            f"{where}wanted a cell with a run for each task and seed, given {source.name} with tasks "
            f"{', '.join(source.tasks)}, seeds {source.seeds}, draws {source.draws}"
        )
    return source, tasks, dataclasses.replace(needs, seed=seeds[0] if len(seeds) == 1 else None)


def _stop_settings(where: str, stop: Stop | None) -> Settings:
    if stop is None:
        return {}
    if (stop.steps is None) == (stop.seconds is None):
        raise BadPlan(f"{where}stop: wanted steps or seconds, given {stop.steps} and {stop.seconds}")
    seconds = {"max_steps": MOST_STEPS, "max_seconds": stop.seconds}
    return {"max_steps": stop.steps, "max_seconds": None} if stop.seconds is None else seconds


def _merged(plan: PlanFile, names: Iterable[str]) -> Settings:
    """Files beside the plan, or else of configs."""
    settings: Settings = {}
    for name in names:
        path = find_file(plan.path.parent, name)
        check_keys(f"{path}: ", found := read(path), Experiment)
        settings = merge(settings, found)
    return settings


def _check_settings(where: str, settings: Any) -> None:
    check_keys(where, settings, Experiment)
    for key in flat(settings):
        if key in KEPT:
            raise BadPlan(f"{where}{key}: wanted {KEPT[key]} for it")


def _check_plan(plan: PlanFile) -> None:
    where = f"{plan.path}: "
    names = [cell.name for cell in plan.cells]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise BadPlan(f"{where}cells: wanted each cell once, given {', '.join(doubled)} twice")
    _check_word(f"{where}pick: ", plan.pick, (BEST, None))
    _check_word(f"{where}view: ", plan.view, (COMPARISON, None))
    for measured in {each for cell in plan.cells for each in cell.measure}:
        _check_word(f"{where}measure: ", measured, MEASURED)
    for claim in plan.claims:
        here = f"{where}claim {claim.name}: "
        _check_word(f"{here}kind: ", claim.kind, CLAIM_KINDS)
        _check_word(f"{here}origin: ", claim.origin, ORIGINS)
        for name in (*claim.first, *claim.second, *([claim.target] if claim.target else [])):
            _check_cell(here, plan, name)
        if claim.kind == "cannot" and not claim.why or claim.kind != "cannot" and not (claim.first and claim.second):
            raise BadPlan(f"{here}wanted {'why' if claim.kind == 'cannot' else 'cells first and second'}, given none")
        if claim.kind in ("no_worse", "below", "above") and claim.margin is None:
            raise BadPlan(f"{here}margin: wanted a number for {claim.kind}, given none")
    for plot in plan.plots:
        here = f"{where}plot {plot.title}: "
        _check_word(f"{here}kind: ", plot.kind, PLOT_KINDS)
        for name in plot.cells:
            _check_cell(here, plan, name)
        if len(plot.y) != len(plot.y_labels):
            raise BadPlan(f"{here}wanted a label for each of {len(plot.y)} measures, given {len(plot.y_labels)}")
    if plan.table is not None:
        _check_row(plan)


def _check_row(plan: PlanFile) -> None:
    if not re.fullmatch(rf"table{plan.table}_{plan.method}(_\w+)?", plan.name) or plan.path.parent.name != plan.paper:
        wanted = f"{plan.paper}/table{plan.table}_{plan.method}[_<variant>].yaml"
        raise BadPlan(f"{plan.path}: wanted the name {wanted}, given {plan.path.parent.name}/{plan.path.name}")
    for mean in plan.means:
        there = [cell.task for cell in plan.cells if cell.task and cell.k == mean.k]
        for task in mean.tasks:
            if task not in there:
                raise BadPlan(
                    f"{plan.path}: mean {mean.name}: wanted cells, given {task!r}.{did_you_mean(task, there)}"
                )


def _check_cell(where: str, plan: PlanFile, name: str) -> None:
    names = [cell.name for cell in plan.cells]
    if name not in names:
        raise BadPlan(f"{where}wanted a cell of {plan.name}, given {name!r}.{did_you_mean(name, names)}")


def _check_word(where: str, word: str | None, words: Sequence[str | None]) -> None:
    if word not in words:
        known = [each for each in words if each is not None]
        raise BadPlan(f"{where}wanted one of {', '.join(known)}, given {word!r}.{did_you_mean(str(word), known)}")
