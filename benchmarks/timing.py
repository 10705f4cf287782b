"""Times of several runs side by side: one process, part by part and round by round, so that load hits all alike."""

import datetime
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dept_vl.run.measure import commit, machine, packages

Run = Sequence[Callable[[], object]]
"""The parts of one run, such as a part for each task: a round's time is the sum over them."""

Times = dict[str, list[float]]
"""Seconds of each round, by run; the same round of two runs was timed side by side."""


class NothingTimed(ValueError):
    """Runs or times that no figure can be made of."""


@dataclass(frozen=True)
class Spread:
    """A figure with its quartiles over the rounds."""

    value: float
    low: float
    high: float
    rounds: int


class Budget:
    """So many seconds for several rows, all that they do counted, shared among them as `shares` says. No row begins
    when they are over.

    A row takes more than it measures, such as the loading of models; what the rows so far took beside it is what each
    row to come is taken to need, for the first one `beside`.
    """

    def __init__(
        self,
        seconds: float,
        shares: Mapping[str, float],
        *,
        beside: float = 25.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._clock, self._end, self._shares, self._first = clock, clock() + seconds, dict(shares), beside
        self._beside: list[float] = []
        self._given: tuple[float, float] | None = None  # when, and how many seconds

    def begin(self, name: str) -> float | None:
        """How long the row that now begins may measure, None where no time is left; the one before is over."""
        now = self._clock()
        if now >= self._end:
            return None
        if self._given is not None:
            began, seconds = self._given
            self._beside.append(max(0.0, now - began - seconds))
        beside = statistics.fmean(self._beside) if self._beside else self._first
        free = max(0.0, self._end - now - beside * len(self._shares))
        whole = sum(self._shares.values())
        share = self._shares.pop(name)
        seconds = free * share / whole if share else 0.0
        self._given = now, seconds
        return seconds


def interleave(
    runs: Mapping[str, Run],
    *,
    seconds: float,
    device: torch.device | str = "cpu",
    least: int = 3,
    most: int = 40,
    clock: Callable[[], float] = time.perf_counter,
) -> Times:
    """Times every run, at least `least` rounds and then as many as fit into `seconds`, at most `most`.

    The first part of each run goes once before, untimed. The run that goes first is another one in each turn.

    Raises: NothingTimed for no run, for runs of different numbers of parts, and for fewer than one round.
    """
    parts = {len(run) for run in runs.values()}
    if len(parts) != 1 or not min(parts) or least < 1:
        given = {name: len(run) for name, run in runs.items()}
        raise NothingTimed(
            f"interleave: wanted runs of one number of parts, at least 1, and least >= 1, given parts {given} and "
            f"least={least}"
        )
    synchronise = torch.cuda.synchronize if torch.device(device).type == "cuda" else lambda: None
    for run in runs.values():
        run[0]()
    synchronise()
    names, times, turn = list(runs), {name: [] for name in runs}, 0
    began = clock()
    for number in range(most):
        if number >= least and (clock() - began) * (number + 1) / number > seconds:
            break
        for name in names:
            times[name].append(0.0)
        for part in range(*parts):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                synchronise()
                start = clock()
                runs[name][part]()
                synchronise()
                times[name][number] += clock() - start
            turn += 1
    return times


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles. Raises: NothingTimed for no values."""
    if not values:
        raise NothingTimed("spread: wanted at least one value, given none")
    if len(values) == 1:
        return Spread(values[0], values[0], values[0], 1)
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(middle, low, high, len(values))


def ratio(over: Sequence[float], under: Sequence[float]) -> Spread:
    """The ratio of the medians, with the quartiles of the rounds' own ratios.

    Raises: NothingTimed unless both have the same number of rounds, at least one.
    """
    if len(over) != len(under) or not over:
        raise NothingTimed(f"ratio: wanted as many rounds of both, at least 1, given {len(over)} and {len(under)}")
    own = spread([one / other for one, other in zip(over, under, strict=True)])
    value = statistics.median(over) / statistics.median(under)
    # a median of ratios is not the ratio of medians: the spread is widened where the latter lies outside
    return Spread(value, min(own.low, value), max(own.high, value), own.rounds)


def inverse(times: Sequence[float], amount: float) -> Spread:
    """`amount` a second. Raises: NothingTimed for no times."""
    own = spread(times)
    return Spread(amount / own.value, amount / own.high, amount / own.low, own.rounds)


def surroundings(device: torch.device) -> dict[str, Any]:
    """The date, the machine, threads, versions and commit under which a figure was taken."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {**machine(device), "processor": _processor(), "torch_threads": torch.get_num_threads()},
        "tf32": torch.backends.cuda.matmul.allow_tf32,
        "versions": packages(),
        "commit": commit(),
    }


def _processor() -> str:
    """The name that Linux gives the processor; elsewhere what Python knows."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
