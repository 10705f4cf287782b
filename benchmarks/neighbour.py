"""Row 16: the quickstart's step while another process keeps one of two cores busy, beside the undisturbed step.

The script trains as a user starts it, on two cores. A busy process on one of them is let go and held in turn, so both
figures come from one run. As a reference the same with what was usual
before: a thread a core, which spin while they wait.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.setting import Setting
from benchmarks.startup import SCRIPT, first_step, training
from benchmarks.table import Line, Measured, Target
from benchmarks.timing import Times, ratio

_TURN, _TINY_TURN = 4.0, 0.5  # seconds that are counted; a quarter as long before is not
_LONG = ["--max_steps", "1000000", "--eval_steps", "0", "--save_steps", "0"]  # a run that goes on until it is ended
_PIN = """
import os, sys
os.sched_setaffinity(0, set(map(int, sys.argv[1].split(","))))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
_SPINNING = {"GOMP_SPINCOUNT": "300000", "KMP_BLOCKTIME": "200"}  # what libgomp and Intel's library do by themselves


class OneCore(ValueError):
    """A machine on which no two cores can be had."""


def neighbour(setting: Setting) -> Measured:
    """Two turns, undisturbed and disturbed, make a round. Raises: OneCore."""
    cores = sorted(os.sched_getaffinity(0))[:2] if hasattr(os, "sched_getaffinity") else []
    if len(cores) < 2:
        raise OneCore(f"neighbour: wanted Linux with two cores for this process, given {len(cores)}")
    turn = _TINY_TURN if setting.tiny else _TURN
    rounds = max(setting.least, int(setting.seconds / (4 * turn)))
    with TemporaryDirectory() as place:
        folder = Path(place)
        first_step(folder, [SCRIPT], "warm")
        ours = _turns(folder, "ours", cores, rounds, turn)
        two = _turns(folder, "spinning", cores, rounds, turn, ["--num_threads", "2"], _SPINNING)
    lines = [
        Line("quickstart's step, busy neighbour / undisturbed", ratio(ours["busy"], ours["alone"]), Target("<=", 2.2)),
        Line("the same with two spinning threads", ratio(two["busy"], two["alone"])),
        Line("undisturbed step, ours / two spinning threads", ratio(ours["alone"], two["alone"])),
        Line("disturbed step, two spinning threads / ours", ratio(two["busy"], ours["busy"])),
    ]
    times = {f"{name} {how}": each for name, found in (("ours", ours), ("two", two)) for how, each in found.items()}
    return Measured(lines, {"step": times}, {"turn_seconds": turn, "cores": 2})


def _turns(
    folder: Path,
    name: str,
    cores: Sequence[int],
    rounds: int,
    turn: float,
    flags: Sequence[str] = (),
    more: Mapping[str, str] | None = None,
) -> Times:
    """Mean seconds of a step in each round's two turns."""
    pinned = [sys.executable, "-c", _PIN]
    busy = subprocess.Popen([*pinned, str(cores[1]), "-c", "while True: pass"], env=os.environ)
    found: Times = {"alone": [], "busy": []}
    try:
        os.kill(busy.pid, signal.SIGSTOP)
        words = [*pinned[1:], ",".join(map(str, cores)), SCRIPT, *_LONG, *flags]
        with training(folder, words, name, more) as log:
            _steps(log, 5)
            for _ in range(rounds):
                for how, told in (("alone", signal.SIGSTOP), ("busy", signal.SIGCONT)):
                    os.kill(busy.pid, told)
                    time.sleep(turn / 4)
                    before = _steps(log, 1)
                    time.sleep(turn)
                    after = _steps(log, len(before) + 1)
                    found[how].append((after[-1] - before[-1]) / (len(after) - len(before)))
    finally:
        busy.kill()
        busy.wait()
    return found


def _steps(log: Callable[[], bytes], least: int) -> list[float]:
    """Seconds of training at the end of each step so far, once there are `least`."""
    while True:
        lines = log().decode().splitlines(keepends=True)
        found = [json.loads(line)["seconds"] for line in lines if line.endswith("\n")]
        if len(found) >= least:
            return found
        time.sleep(0.02)
