"""Measures one row of the table, or a subset that takes some minutes, and prints it with its targets.

python -m benchmarks.run all --minutes 10                       # every row, T5-small shape, into results_cpu.json
python -m benchmarks.run peers --large --seconds 1800           # one row: T5-base too, all eight GLUE sets
python -m benchmarks.run all --device cuda --dtype bfloat16     # the rows on a GPU
python -m benchmarks.run questions                              # the start-up over a million questions, 10 minutes
python -m benchmarks.run techniques --seconds 240               # what each technique gains
python -m benchmarks.run methods --seconds 300                  # what every method costs beside the frozen model
python -m benchmarks.run prompt_lengths --seconds 600           # DePT's claims of speed, T5-small to T5-large
python -m benchmarks.run gpu --device cuda --dtype bfloat16     # what only a GPU tells
python -m benchmarks.run reach                                  # seconds to PT-100's score, off the runs of its plan
python -m benchmarks.run all --compare main --minutes 20        # every row here and at another commit, turn by turn
python -m benchmarks.run table                                  # the kept results as Markdown
"""

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.answers import answers
from benchmarks.bank import bank
from benchmarks.compare import BadCommit, compare
from benchmarks.extraction import extraction
from benchmarks.gpu import gpu
from benchmarks.inference import folded, prompt_cache, scoring
from benchmarks.int8 import int8
from benchmarks.lengths import READINGS
from benchmarks.loop import loop
from benchmarks.methods import methods
from benchmarks.neighbour import OneCore, neighbour
from benchmarks.padding import padding
from benchmarks.peers import padded, peers
from benchmarks.precision import precision
from benchmarks.prompt_lengths import prompt_lengths
from benchmarks.questions import questions
from benchmarks.reach import NotRun, reaching
from benchmarks.setting import DTYPES, NoDevice, Setting, make
from benchmarks.startup import NoStep, startup
from benchmarks.steps import memory, time_steps
from benchmarks.store import store
from benchmarks.table import BadResults, Measured, keep, provenance, read_results, table
from benchmarks.techniques import techniques
from benchmarks.timing import Budget, surroundings
from dept_vl.untrusted.whole_files import check_writable

MEASURES: dict[str, tuple[Callable[[Setting], Measured], float]] = {
    "step": (time_steps, 0.10),
    "loop": (loop, 0.09),
    "store": (store, 0.08),
    "scoring": (scoring, 0.04),
    "folded": (folded, 0.05),
    "prompt_cache": (prompt_cache, 0.06),
    "memory": (memory, 0.0),
    "padding": (padding, 0.0),
    "startup": (startup, 0.07),
    "precision": (precision, 0.03),
    "int8": (int8, 0.03),
    "neighbour": (neighbour, 0.05),
    "bank": (bank, 0.05),
    "peers": (peers, 0.17),
    "padded": (padded, 0.11),
    "answers": (answers, 0.05),
    "extraction": (extraction, 0.03),
}
"""What measures each row, and its share of the time in which `all` measures. Those that take minutes for their fewest
rounds stand last: they are left out where a slow machine has no time left."""

STORED: dict[str, Callable[[Setting], Measured]] = {"reach": reaching}
"""What is read off the runs of a plan, and what `all` leaves out for that."""

APART: dict[str, Callable[[Setting], Measured | Iterator[Measured]]] = {
    "questions": questions,
    "techniques": techniques,
    "methods": methods,
    "prompt_lengths": prompt_lengths,
    "gpu": gpu,
}
"""What `all` leaves out, and the table too where it was not measured."""

NUMBERS: dict[str, int | str] = {
    "step": 1,
    "peers": 2,
    "padded": 3,
    "loop": 4,
    "store": 5,
    "scoring": 6,
    "folded": 7,
    "prompt_cache": 8,
    "memory": 9,
    "padding": 10,
    "startup": 11,
    "precision": 12,
    "int8": 13,
    "reach": 15,
    "neighbour": 16,
    "answers": 17,
    "extraction": 18,
    "questions": 19,
    "bank": 20,
    "techniques": "",
    "methods": "",
    "prompt_lengths": "",
    "gpu": "GPU",
}
"""The rows as the table has them, in its order."""

ROUNDS = 2  # of `all` at least
FOLDER = Path(__file__).resolve().parent


def main(words: Sequence[str] | None = None) -> str:
    """Measures what the words ask for, keeps it, and returns its table. Tiny figures are kept only where --output says.

    Raises: NoDevice, BadResults.
    """
    words = sys.argv[1:] if words is None else words
    given = _parser().parse_args(words)
    path = given.output or FOLDER / f"results_{given.device}.json"
    if given.what == "table":
        kept = read_results(path)["measures"]
        numbers = {name: number for name, number in NUMBERS.items() if name not in APART or name in kept}
        return f"{table(kept, numbers)}\n\n{provenance({name: kept[name] for name in numbers if name in kept})}"
    if given.compare is not None:
        return _compare(given)
    setting = make(
        given.device,
        given.dtype,
        threads=given.threads,
        seconds=given.seconds,
        tiny=given.tiny,
        large=given.large,
        seed=given.seed,
        lengths=given.lengths,
        runs=given.runs,
    )
    kept = given.output is not None or not given.tiny
    if kept:  # before minutes of measuring
        read_results(path)
        check_writable(path)
    found, names = {}, list(MEASURES) if given.what == "all" else [given.what]
    budget = Budget(60 * given.minutes, {name: share for name, (_, share) in MEASURES.items()})
    for name in names:
        if given.what == "all":
            seconds = budget.begin(name)
            if seconds is None:
                print(f"{name}: no time left, measure it by itself", file=sys.stderr, flush=True)
                continue
            setting = replace(setting, seconds=seconds, rounds=ROUNDS)
        for each in measure(name, setting, words):
            found[name] = each
            if kept:
                keep(path, {name: each})
        print(f"{name}: done", file=sys.stderr, flush=True)
    return table(found, {name: number for name, number in NUMBERS.items() if name in names})


def measure(name: str, setting: Setting, words: Sequence[str]) -> Iterator[dict[str, Any]]:
    """One measure as JSON data with its surroundings; one that has steps is given again after each. words: of the
    command."""
    run = MEASURES[name][0] if name in MEASURES else (STORED | APART)[name]
    found = run(setting)
    how = {
        "command": shlex.join(["python", "-m", "benchmarks.run", *words]),
        "device": setting.device.type,
        "dtype": str(setting.dtype).removeprefix("torch."),
        "tiny": setting.tiny,
        "large": setting.large,
        "seed": setting.seed,
        "lengths": setting.lengths,
    }
    for each in [found] if isinstance(found, Measured) else found:
        yield {**each.to_json(), "how": how, "surroundings": {**surroundings(setting.device), **each.made}}


def _compare(given: argparse.Namespace) -> str:
    """Raises: BadCommit; SystemExit behind the table where something got worse."""
    asked = {name: str(getattr(given, name)) for name in ("device", "dtype", "lengths", "seed")}
    asked |= {"threads": str(given.threads)} if given.threads else {}
    words = [word for name, value in asked.items() for word in (f"--{name}", value)]
    words += [f"--{name}" for name in ("tiny", "large") if getattr(given, name)]
    seconds = {name: 60 * given.minutes * share for name, (_, share) in MEASURES.items()}
    shown, worse = compare(given.compare, seconds if given.what == "all" else {given.what: given.seconds}, words)
    if worse:
        print(shown)
        sys.exit(1)
    return shown


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "what", choices=["all", *MEASURES, *STORED, *APART, "table"], help="a row of the table, or all of them"
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=list(DTYPES), default="float32", help="of the frozen models' weights")
    parser.add_argument(
        "--minutes",
        type=float,
        default=10.0,
        help="when `all` begins no further row; with --compare, how long it measures",
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="about how long one row measures")
    parser.add_argument("--threads", type=int, help="of torch; the machine's cores unless given")
    parser.add_argument("--large", action="store_true", help="a larger T5 too (peers, serving), and all GLUE sets")
    parser.add_argument("--lengths", choices=READINGS, default="table9", help="how GLUE's are drawn, see lengths.py")
    parser.add_argument("--tiny", action="store_true", help="models of a few thousand weights, to see that it runs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs/plans"), help="folder of finished plans (reach)")
    parser.add_argument("--compare", metavar="COMMIT", help="another commit to measure by turns: what got worse?")
    parser.add_argument("--output", type=Path, help="the file of results (else benchmarks/results_<device>.json)")
    return parser


if __name__ == "__main__":
    try:
        print(main())
    except (NoDevice, NoStep, OneCore, BadCommit, BadResults, NotRun, OSError) as error:
        sys.exit(f"benchmarks.run: {error}")
