"""From plans to unique runs: cells with the same settings share a run, in whatever plan they stand."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dept_vl.config import Experiment, make_experiment
from dept_vl.plans.schema import Cell, Needs, PlanFile
from dept_vl.plans.settings import BadPlan, flat, merge, nested
from dept_vl.run import resolve
from dept_vl.tasks import TASKS

RESULTS = "results.json"
WITHOUT_EFFECT = (
    "output_dir", "resume_from_checkpoint", "report_to", "progress", "num_threads", "dataloader_num_workers",
    "vision.num_workers", "logging_steps", "save_steps", "save_total_limit", "backbone.gradient_checkpointing",
)  # fmt: skip
"""Settings that change no score, so that a finished run with others counts all the same."""
_LEFT_TO_THE_RUN = {"bf16": "auto", "optim.lr.prompt": None, "backbone.attn_implementation": None}
"""Values with which any outcome is what was asked for."""
_SOURCE, _SOURCES = "adapter.start.from", "adapter.start.sources"


class StaleRun(ValueError):
    """A finished run in a cell's folder that was made with other settings."""


@dataclass(frozen=True)
class Run:
    """One experiment, whose folder is named by what it is. after: the run that it starts from. sources: those whose
    frozen prompts it takes."""

    name: str
    config: Experiment
    after: str | None = None
    sources: tuple[str, ...] = ()

    @property
    def waits_for(self) -> tuple[str, ...]:
        return self.sources if self.after is None else (self.after, *self.sources)

    @property
    def folder(self) -> Path:
        return Path(self.config.output_dir)

    def results(self) -> dict[str, Any] | None:
        """Its results.json, None before it is finished. Raises: StaleRun."""
        path = self.folder / RESULTS
        if not path.exists():
            return None
        results = json.loads(path.read_text(encoding="utf-8"))
        now, then = effective(self.config), flat(results["run_info"]["train_config"])
        own = {_SOURCE} if self.after else set()  # the folder of its source may have moved; its name tells which it is
        own |= {_SOURCES} if self.sources else set()
        own |= {name for name, value in _LEFT_TO_THE_RUN.items() if now.get(name) == value}
        differ = [name for name in now if name not in own and now[name] != then.get(name, now[name])]
        if differ:
            shown = "; ".join(f"{name} {then[name]!r}, wanted {now[name]!r}" for name in differ)
            raise StaleRun(f"{self.folder}: holds a run with other settings ({shown}): move it away")
        return results


@dataclass(frozen=True)
class Place:
    """Where a run stands in a plan."""

    cell: str
    task: str
    seed: int
    draw: int
    run: str


@dataclass(frozen=True)
class Schedule:
    """runs: by name, in the order in which they are done. places: of each plan, by its name."""

    runs: dict[str, Run]
    places: dict[str, tuple[Place, ...]]

    def of(self, *plans: PlanFile) -> dict[str, Run]:
        """The runs of some plans."""
        wanted = {place.run for plan in plans for place in self.places[plan.name]}
        return {name: run for name, run in self.runs.items() if name in wanted}


def make_schedule(plans: Iterable[PlanFile], root: Path) -> Schedule:
    """Every run of the plans, its folder below `root`/runs; first seeds first, so that a plan that is stopped has seen
    all its cells. Raises: BadPlan for settings that make no experiment."""
    runs: dict[str, Run] = {}
    turns: dict[str, int] = {}
    places = {}
    for plan in plans:
        found: list[Place] = []
        for cell in plan.cells:  # behind those that it needs
            if "score" not in cell.measure:
                continue
            repeats = [(seed, draw) for seed in cell.seeds for draw in cell.draws]
            for task in cell.tasks:
                for turn, (seed, draw) in enumerate(repeats):
                    source = [runs[each] for each in _runs_of(cell.needs, seed, found)]
                    prompts = [runs[each] for each in _runs_of(cell.sources, seed, found)]
                    run = make_run(plan, cell, task, seed, draw, next(iter(source), None), root, prompts)
                    runs.setdefault(run.name, run)
                    turns[run.name] = min(turn, turns.get(run.name, turn))
                    found.append(Place(cell.name, task, seed, draw, run.name))
        places[plan.name] = tuple(found)
    depth: dict[str, int] = {}
    for name, run in runs.items():  # each stands behind those that it waits for
        depth[name] = 1 + max((depth[each] for each in run.waits_for), default=-1)
    order = sorted(runs, key=lambda name: (depth[name], turns[name]))
    return Schedule({name: runs[name] for name in order}, places)


def _runs_of(needs: Needs | None, seed: int, found: Iterable[Place]) -> list[str]:
    """The runs that a link names, each once, in the order of their tasks."""
    if needs is None:
        return []
    wanted = needs.cell, seed if needs.seed is None else needs.seed
    there = [each for each in found if (each.cell, each.seed) == wanted and needs.task in (None, each.task)]
    return list(dict.fromkeys(each.run for each in there))


def make_run(
    plan: PlanFile,
    cell: Cell,
    task: str,
    seed: int,
    draw: int,
    source: Run | None,
    root: Path,
    prompts: Sequence[Run] = (),
) -> Run:
    """prompts: the runs of `cell.sources`. Raises: BadPlan."""
    start: dict[str, Any] = {}
    mixture = [TASKS[each].name for each in cell.settings.get("task", {}).get("mixture") or ()]
    if {each.config.task.name for each in prompts} == set(mixture):
        prompts = sorted(prompts, key=lambda each: mixture.index(each.config.task.name))
    if prompts:
        start[_SOURCES] = [str(each.folder) for each in prompts]
    part = ""  # the task of a mixture from whose folder a run starts
    if source is not None:
        part = cell.needs.task if cell.needs.task and source.config.task.mixture else ""
        start[_SOURCE] = str(source.folder / part)
    settings = merge(merge(cell.settings, {"task": {"name": task}}), nested(start))
    try:
        config = _experiment(json.dumps(settings))
    except ValueError as error:
        raise BadPlan(f"{plan.path}: cell {cell.name}: wanted an experiment ({error})") from error
    config = dataclasses.replace(config, seed=seed, task=dataclasses.replace(config.task, draw=draw))
    method = config.adapter.name if config.adapter.name != "none" else config.inside.method or "none"
    names = tuple(each.name for each in prompts)
    start_key = None if source is None else "/".join(filter(None, (source.name, part)))
    name = f"{config.task.name}_{method}_{key(config, start_key, names)}"
    config = dataclasses.replace(config, output_dir=str(root / "runs" / name))
    return Run(name, config, None if source is None else source.name, names)


@functools.lru_cache(maxsize=4096)
def _experiment(settings: str) -> Experiment:
    """Parsing takes 0.1 s, and the seeds and draws of a cell have it in common."""
    return resolve(make_experiment(json.loads(settings)))


def key(config: Experiment, source: str | None = None, prompts: Sequence[str] = ()) -> str:
    """The same for two experiments that must give the same score. Settings that stand at their default do not count, so
    a setting that a later version adds changes no key."""
    given, usual = effective(config), effective(Experiment())
    own = {name: value for name, value in given.items() if name not in usual or value != usual[name]}
    if source is not None:
        own[_SOURCE] = source
    if prompts:
        own[_SOURCES] = list(prompts)
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:10]


def effective(config: Experiment) -> Mapping[str, Any]:
    """The settings that can change a score, dotted, as results.json has them."""
    settings = flat(_plain(config.to_dict()))
    return {name: value for name, value in settings.items() if name not in WITHOUT_EFFECT}


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))
