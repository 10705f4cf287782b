"""The runs of a plan on a few processes: what is finished is read, what was begun goes on, a failure stops no other.

A process does many runs, so that torch and transformers are imported once. Each run is done under a lock of its own:
two commands at once share the work and never do the same run twice.
"""

import contextlib
import dataclasses
import fcntl
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from pathlib import Path

from dept_vl.config import Experiment
from dept_vl.run.execute import RESULTS, run
from dept_vl.studies.plan import Run
from dept_vl.train.resumable import find_checkpoints

Say = Callable[[str], None]
Work = Callable[[Experiment], None]


class LostWorker(OSError):
    """A worker process that was killed, for memory most likely. The same command goes on with what is left."""


def work(config: Experiment) -> None:
    """One run in this process. A run that another process does meanwhile is waited for."""
    folder = Path(config.output_dir)
    with locked(folder.parent / f".{folder.name}.lock"):
        if not (folder / RESULTS).exists():
            begun = bool(find_checkpoints(folder / "checkpoints"))
            run(dataclasses.replace(config, resume_from_checkpoint="last") if begun else config)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """An exclusive lock between processes, which the system takes from one that dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def processes(jobs: int) -> Executor:
    """New processes, each with one thread for its sums."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    return ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))


def run_all(
    runs: Mapping[str, Run],
    *,
    jobs: int,
    say: Say,
    work: Work = work,
    pool: Callable[[int], Executor] = processes,
) -> dict[str, str]:
    """Does the runs that have no results yet; the reason of each that failed, by its name.

    A run waits for the one that it starts from. `jobs` runs at once.
    """
    left = {name: each for name, each in runs.items() if not (each.folder / RESULTS).exists()}
    say(f"{len(runs)} runs, {len(runs) - len(left)} of them finished before")
    if not left:
        return {}
    failed: dict[str, str] = {}
    progress = _Progress(len(left), jobs, say)
    with pool(jobs) as executor:
        going: dict[Future[None], str] = {}
        waiting = dict(left)
        while waiting or going:
            for name, each in list(waiting.items()):
                if each.after in failed:
                    failed[name] = f"the run that it starts from failed: {each.after}"
                    progress.done(name, failed[name])
                    del waiting[name]
                elif len(going) < jobs and each.after not in waiting and each.after not in going.values():
                    try:
                        going[executor.submit(work, each.config)] = name
                    except BrokenExecutor as error:
                        raise LostWorker(f"{name}: wanted a process, but one of them was killed: {error}") from error
                    progress.start(name)
                    del waiting[name]
            for future in wait(going, return_when=FIRST_COMPLETED).done:
                name, error = going.pop(future), future.exception()
                if error is not None:
                    failed[name] = f"{type(error).__name__}: {error}"
                progress.done(name, failed.get(name))
    return failed


class _Progress:
    """run 12 of 180: shapes-qnli_pt_8e61f0c3aa: 34 s, about 40 min left"""

    def __init__(self, total: int, jobs: int, say: Say) -> None:
        self._total, self._jobs, self._say = total, jobs, say
        self._began: dict[str, float] = {}
        self._ended = 0
        self._start = time.monotonic()

    def start(self, name: str) -> None:
        self._began[name] = time.monotonic()

    def done(self, name: str, error: str | None) -> None:
        self._ended += 1
        now = time.monotonic()
        left = (now - self._start) / self._ended * (self._total - self._ended)
        told = f"failed: {error}" if error else f"{now - self._began.get(name, now):.0f} s"
        self._say(f"run {self._ended} of {self._total}: {name}: {told}, about {max(1, round(left / 60))} min left")
