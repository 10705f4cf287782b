"""Do the runs of a plan on a few processes: finished ones are read, begun ones resume, a failure stops no other.

Several commands, on one machine or several, may share a plan: a run is done under the lock of its folder, and what
another command does meanwhile is left to it, and taken over if that one dies.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from pathlib import Path

from dept_vl.config import Experiment
from dept_vl.plans.runs import RESULTS, Run
from dept_vl.plans.workers import processes
from dept_vl.run.execute import run
from dept_vl.train.resumable import BadCheckpoint, find_checkpoints
from dept_vl.untrusted.folder_lock import FolderInUse

Say = Callable[[str], None]
Work = Callable[[Experiment], None]
PAUSE = 1.0  # seconds until a run that another command does is looked at again


class LostWorker(OSError):
    """A worker process that was killed, for memory most likely. The same command goes on with what is left."""


def work(config: Experiment) -> None:
    """One run in this process, unless it is finished. Raises: FolderInUse while another process does it, and what the
    run raises; a ValueError, which would come again, is kept beside the folder."""
    folder = Path(config.output_dir)
    begun = bool(find_checkpoints(folder / "checkpoints"))
    try:
        if begun:
            with contextlib.suppress(BadCheckpoint):  # all of them are damaged: the run begins anew
                run(dataclasses.replace(config, resume_from_checkpoint="last"), take_finished=True, baselines=False)
                return
        run(config, take_finished=True, baselines=False)
    except FolderInUse:
        raise
    except ValueError as error:
        _note(folder).write_text(f"{type(error).__name__}: {error}", encoding="utf-8")
        raise


def _note(folder: Path) -> Path:
    """Where the reason of a failed run stands."""
    return folder.with_name(f".{folder.name}.failed")


def run_all(
    runs: Mapping[str, Run],
    *,
    jobs: int,
    say: Say,
    again: bool = False,
    work: Work = work,
    pool: Callable[[int], Executor] = processes,
) -> dict[str, str]:
    """Do the runs that have no results yet, `jobs` at once, each behind those that it starts from; the reason of each
    that failed, by its name. `again`: try those once more that failed before."""
    left = {name: each for name, each in runs.items() if not (each.folder / RESULTS).exists()}
    say(f"{len(runs)} runs, {len(runs) - len(left)} of them finished before")
    if not left:
        return {}
    if again:
        for each in left.values():
            _note(each.folder).unlink(missing_ok=True)
    with pool(jobs) as executor:
        return _Work(left, jobs, say, work, executor).do()


class _Work:
    """What waits, what goes on here, what another command does, and what failed."""

    def __init__(self, runs: Mapping[str, Run], jobs: int, say: Say, work: Work, executor: Executor) -> None:
        self.runs, self.waiting, self.jobs = runs, dict(runs), jobs
        self.say, self.work, self.executor = say, work, executor
        self.going: dict[Future[None], str] = {}
        self.elsewhere: dict[str, float] = {}  # when to look again
        self.failed: dict[str, str] = {}
        self.began: dict[str, float] = {}
        self.ended, self.start = 0, time.monotonic()

    def do(self) -> dict[str, str]:
        while self.waiting or self.going:
            for name in list(self.waiting):
                self._look_at(name)
            if self.going:
                pause = PAUSE if self.waiting and len(self.going) < self.jobs else None  # another command may end one
                for future in wait(self.going, timeout=pause, return_when=FIRST_COMPLETED).done:
                    self._take(future)
            elif self.waiting:
                time.sleep(PAUSE)
        return self.failed

    def _look_at(self, name: str) -> None:
        each = self.waiting[name]
        if lost := next((other for other in each.waits_for if other in self.failed), None):
            return self._end(name, f"the run that it starts from failed: {lost}")
        if (each.folder / RESULTS).exists():
            return self._end(name)
        if _note(each.folder).exists():
            return self._end(name, _note(each.folder).read_text(encoding="utf-8") + " (--again tries it again)")
        if len(self.going) >= self.jobs or time.monotonic() < self.elsewhere.get(name, 0.0):
            return None
        if not {*self.waiting, *self.going.values()}.intersection(each.waits_for):
            self._begin(name, self.waiting.pop(name))
        return None

    def _begin(self, name: str, each: Run) -> None:
        alone = self.jobs == 1
        config = dataclasses.replace(
            each.config, progress=alone and each.config.progress, num_threads=each.config.num_threads if alone else 1
        )
        self.began[name] = time.monotonic()
        try:
            self.going[self.executor.submit(self.work, config)] = name
        except BrokenExecutor as error:
            raise LostWorker(f"{name}: wanted a process, but one of them was killed: {error}") from error

    def _take(self, future: Future[None]) -> None:
        name, error = self.going.pop(future), future.exception()
        if isinstance(error, FolderInUse):
            if name not in self.elsewhere:
                self.say(f"{name}: left to another command")
            self.elsewhere[name] = time.monotonic() + PAUSE
            self.waiting[name] = self.runs[name]
        else:
            self._end(name, None if error is None else f"{type(error).__name__}: {error}")

    def _end(self, name: str, error: str | None = None) -> None:
        """run 12 of 180: shapes-qnli_pt_8e61f0c3aa: 34 s, about 40 min left"""
        self.waiting.pop(name, None)
        self.ended += 1
        if error:
            self.failed[name] = error
        now = time.monotonic()
        left = (now - self.start) / self.ended * (len(self.runs) - self.ended)
        took = f"failed: {error}" if error else f"{now - self.began.get(name, now):.0f} s"
        self.say(f"run {self.ended} of {len(self.runs)}: {name}: {took}, about {max(1, round(left / 60))} min left")
