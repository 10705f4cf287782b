"""The work on a sweep: processes take runs from one optuna journal until none waits.

The journal lies in the study folder beside the run folders. Runs are entered once, each process takes one at a time,
and what a process that died had begun is entered again: by the next start, or by a process that finds nothing else to
do. A run folder with a results.json is done, whoever wrote it. A process that finds nothing waiting leaves, even where
others still run; the last one to leave writes the full summary.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from dept_vl.config import Experiment
from dept_vl.registry import did_you_mean
from dept_vl.sweep.grid import BadSweep, Grid, PlannedRun, describe, planned_runs
from dept_vl.sweep.processes import FileLock, is_gone, this_process
from dept_vl.sweep.summary import Outcome, write_summary
from dept_vl.train.resumable import find_checkpoints

try:
    import optuna
    from optuna.distributions import CategoricalDistribution
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import FrozenTrial, Trial, TrialState
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("a sweep needs optuna: pip install 'dept_vl[sweep]'", name=error.name) from error

Run = Callable[[Experiment], dict[str, Any] | None]
AGAIN = ("failed", "elsewhere")
_MOST_SHOWN = 10  # differences between two studies


class OtherStudy(ValueError):
    """A study folder that belongs to another grid or config."""


def run_sweep(
    config: Experiment,
    grid: Grid,
    folder: Path,
    run: Run,
    *,
    headline: str,
    again: Collection[str] = (),
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Does the sweep's runs that wait, in this process, and returns the summary, which also stands in `folder`.

    run: does one experiment, writes results.json into its folder and returns it; an exception fails that run alone.
    headline: the name of the score that is reported, which also selects unless config.metric_for_best_model is another.
    again: "failed" runs are tried once more; those that run "elsewhere", on other hosts, are taken for dead.

    Raises: OtherStudy, BadSweep.
    """
    if wrong := [word for word in again if word not in AGAIN]:
        raise BadSweep(f"again: wanted {' or '.join(AGAIN)}, given {wrong[0]!r}.{did_you_mean(wrong[0], AGAIN)}")
    selecting = config.metric_for_best_model or headline
    queue = _Queue(folder, describe(config, grid), planned_runs(config, grid, folder), again)
    while taken := queue.take():
        trial, planned = taken
        say(f"run {1 + queue.runs.index(planned)} of {len(queue.runs)}: {planned.name}")
        try:
            results = _finished(folder / planned.name) or run(_going_on(planned.config))
            test = _number(results, "test", headline)
            val = _number(results, "val", selecting) if "val" in results["metrics"] or len(grid.cells) > 1 else None
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            say(f"  failed: {message}")
            queue.fail(trial, message)
        else:
            queue.finish(trial, val, test)
    return queue.close(grid, selecting, headline)


def _going_on(config: Experiment) -> Experiment:
    """From the last checkpoint of a run that a kill cut off."""
    begun = bool(find_checkpoints(Path(config.output_dir) / "checkpoints"))
    return dataclasses.replace(config, resume_from_checkpoint="last") if begun else config


def _finished(folder: Path) -> dict[str, Any] | None:
    path = folder / "results.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _number(results: dict[str, Any] | None, split: str, metric: str) -> float:
    """Raises: BadSweep for results without that score."""
    scores = (results or {}).get("metrics", {}).get(split)
    if scores is None:
        raise BadSweep(f"wanted results with metrics.{split}, given none (eval_steps 0 leaves out val)")
    if metric not in scores:
        raise BadSweep(
            f"wanted {metric!r} in metrics.{split}, given {', '.join(scores)}.{did_you_mean(metric, scores)}"
        )
    return float(scores[metric])


class _Queue:
    """The journal of one study. What reads and then writes holds the lock, so each run is taken once."""

    def __init__(
        self, folder: Path, description: dict[str, Any], runs: Sequence[PlannedRun], again: Collection[str]
    ) -> None:
        self.folder, self.runs, self.description = folder, runs, description
        self._by_name = {run.name: run for run in runs}
        self._choices = _choices(runs, description["cells"])
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / "study.lock")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with self._lock:
            self._study = self._open()
            known = self._latest()
            for run in runs:
                if run.name not in known:
                    self._enter(run)
            self._enter_again("elsewhere" in again)
            if "failed" in again:
                for trial in self._latest().values():
                    if trial.state == TrialState.FAIL:
                        self._enter(self._by_name[trial.user_attrs["run"]])

    def _open(self) -> optuna.Study:
        journal = self.folder / "journal.log"
        backend = JournalFileBackend(str(journal), _JournalLock(journal))
        study = optuna.create_study(
            storage=JournalStorage(backend),
            study_name="sweep",
            direction="maximize",
            sampler=optuna.samplers.RandomSampler(seed=0),  # never asked: every run's values are given
            load_if_exists=True,
        )
        there = study.user_attrs.get("description")
        if there is None:
            study.set_user_attr("description", self.description)
        elif there != self.description:
            keys = [key for key in {**there, **self.description} if there.get(key) != self.description.get(key)]
            shown = [f"{key}: there {there.get(key)}, given {self.description.get(key)}" for key in keys[:_MOST_SHOWN]]
            more = f"; and {len(keys) - len(shown)} more" if len(keys) > len(shown) else ""
            raise OtherStudy(f"{self.folder} holds another study: {'; '.join(shown)}{more}. Wanted a folder of its own")
        return study

    def _enter(self, run: PlannedRun) -> None:
        self._study.enqueue_trial(_parameters(run, self.description["cells"]), user_attrs={"run": run.name})

    def _enter_again(self, elsewhere: bool = False) -> None:
        """Enters what dead processes had taken; a process that calls this has no run of its own."""
        latest = self._latest()
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            process = trial.user_attrs.get("process")  # missing: it died before it could tell, for we hold the lock
            here = this_process()
            if not process or process == here or is_gone(process) or (elsewhere and process["host"] != here["host"]):
                name = trial.user_attrs["run"]
                if latest[name].number == trial.number:  # else a process died here, between this line and the next
                    self._enter(self._by_name[name])
                self._study.tell(trial.number, state=TrialState.FAIL)

    def _latest(self) -> dict[str, FrozenTrial]:
        """The last trial of each run: its state is the run's."""
        return {trial.user_attrs["run"]: trial for trial in self._study.get_trials(deepcopy=False)}

    def take(self) -> tuple[Trial, PlannedRun] | None:
        """The next waiting run, now this process's; None when none waits."""
        with self._lock:
            if not self._waits():
                self._enter_again()
            if not self._waits():
                return None
            trial = self._study.ask(self._choices)
            trial.set_user_attr("process", this_process())
            return trial, self._by_name[trial.user_attrs["run"]]

    def _waits(self) -> bool:
        return bool(self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    def finish(self, trial: Trial, val: float | None, test: float) -> None:
        """optuna's value is the validation score; 0 for a run without one, which only a lone cell may be."""
        trial.set_user_attr("val", val)
        trial.set_user_attr("test", test)
        self._study.tell(trial, 0.0 if val is None else val, skip_if_finished=True)

    def fail(self, trial: Trial, message: str) -> None:
        trial.set_user_attr("error", message)
        self._study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)

    def close(self, grid: Grid, selecting: str, headline: str) -> dict[str, Any]:
        with self._lock:  # or a process with an older view could write after one with a newer
            latest = self._latest()
            outcomes = [_outcome(run, latest[run.name]) for run in self.runs]
            return write_summary(self.folder, outcomes, grid, self.description, selecting, headline)


class _JournalLock:
    """Taken by optuna for each line that it adds. Where a full disk cut the last line off, its beginning goes: optuna
    would write on behind it and then read neither."""

    def __init__(self, journal: Path) -> None:
        self._journal, self._lock = journal, FileLock(journal.with_name("journal.lock"))

    def acquire(self) -> bool:
        taken = self._lock.acquire()
        os.truncate(self._journal, self._journal.read_bytes().rfind(b"\n") + 1)
        return taken

    def release(self) -> None:
        self._lock.release()


def _outcome(run: PlannedRun, trial: FrozenTrial) -> Outcome:
    states = {TrialState.COMPLETE: "finished", TrialState.FAIL: "failed", TrialState.RUNNING: "running"}
    told = trial.user_attrs
    return Outcome(
        run=run,
        state=states.get(trial.state, "waiting"),
        val=told.get("val"),
        test=told.get("test"),
        error=told.get("error", ""),
        process=told.get("process"),
    )


def _parameters(run: PlannedRun, cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What optuna and its dashboard are told of a run: its cell's values, its seed, its draw."""
    cell = {key: json.dumps(value) if isinstance(value, list) else value for key, value in cells[run.cell].items()}
    return {**cell, "seed": run.seed, **({} if run.draw is None else {"task.draw": run.draw})}


def _choices(runs: Sequence[PlannedRun], cells: Sequence[dict[str, Any]]) -> dict[str, CategoricalDistribution]:
    values: dict[str, list[Any]] = {}
    for run in runs:
        for key, value in _parameters(run, cells).items():
            if value not in values.setdefault(key, []):
                values[key].append(value)
    return {key: CategoricalDistribution(each) for key, each in values.items()}
