"""Two commits side by side: rows measured turn by turn in two checkouts, and the figures that got worse.

The other commit is checked out into a temporary folder (`git worktree`) and runs with its own code and its own
benchmarks, this Python and this machine. Each turn measures a row in one checkout and then in the other, so that load
hits both; which goes first changes from turn to turn.

A figure got worse where it moved to the bad side of its target by more than the spread of either side: its quartiles
do not reach the other's, and beyond what counted figures may differ by rounding. Beside the figures stand the seconds
of every run, which are worse where they are longer; those of others' code (bare, PEFT) say what the machine did.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.timing import Spread, spread

REPOSITORY = Path(__file__).resolve().parent.parent
TURNS = 3
ROUNDING = 1e-3  # of a figure: below this nothing got worse
Measure = Mapping[str, Any]
"""A row as `benchmarks.run` keeps it."""


class BadCommit(ValueError):
    """A commit that cannot be checked out here."""


@dataclass(frozen=True)
class Change:
    """A figure, or the seconds of a run, in both commits. better: "less" or "more"; None: not to be judged."""

    row: str
    what: str
    before: Spread
    after: Spread
    better: str | None

    @property
    def worse(self) -> bool:
        if self.better is None:
            return False
        before, after = self.before, self.after
        if self.better == "more":
            before, after = _negated(before), _negated(after)
        return after.low > before.high and after.value - before.value > ROUNDING * abs(before.value)


def compare(commit: str, rows: Mapping[str, float], words: Sequence[str]) -> tuple[str, list[Change]]:
    """The table of both commits as Markdown, with what got worse behind it; and that.

    rows: the rows' names with the seconds that each may take in all. words: of the command, for both (--tiny, ...).
    A row that one of the commits does not have, or cannot measure, is said below the table.

    Raises: BadCommit.
    """
    changes: list[Change] = []
    missing: list[str] = []
    with checkout(commit) as (folder, name):
        for row, seconds in rows.items():
            found: dict[Path, list[Measure]] = {folder: [], REPOSITORY: []}
            try:
                for turn in range(TURNS):
                    for place in (folder, REPOSITORY)[:: 1 if turn % 2 == 0 else -1]:
                        found[place].append(run_row(place, row, seconds / (2 * TURNS), words))
                        print(f"{row}, turn {turn + 1}: {name if place is folder else 'here'}", file=sys.stderr)
            except subprocess.CalledProcessError as error:
                missing.append(f"- {row}: not measured ({_last_line(error.stderr)})")
                continue
            changes += differences(row, found[folder], found[REPOSITORY])
    worse = [each for each in changes if each.worse]
    return "\n".join([*_table(name, changes), "", *missing, *_verdict(name, worse)]), worse


def differences(row: str, before: Sequence[Measure], after: Sequence[Measure]) -> list[Change]:
    """What both have of a row, figures first."""
    found = []
    ours, theirs = _lines(after), _lines(before)
    for what, lines in ours.items():
        if what in theirs:
            target = lines[0]["target"]
            better = (
                None if target is None else "more" if target["sense"] == ">=" else "less"
            )  # "=" stands at counts of none
            found.append(Change(row, what, _joined(theirs[what]), _joined(lines), better))
    seconds, earlier = _seconds(after), _seconds(before)
    both = [what for what in seconds if what in earlier]
    found += [Change(row, f"seconds: {what}", spread(earlier[what]), spread(seconds[what]), "less") for what in both]
    return found


@contextmanager
def checkout(commit: str) -> Iterator[tuple[Path, str]]:
    """A folder with that commit, and its short name; gone afterwards. Real texts lie beside it as beside this one.

    Raises: BadCommit.
    """
    found = _git("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}")
    if found.returncode:
        raise BadCommit(f"--compare {commit}: wanted a commit of {REPOSITORY}, given something else: see git log")
    name = found.stdout.strip()
    with TemporaryDirectory() as above:
        folder, beside = Path(above) / "checkout", REPOSITORY.parent / "shared"
        if beside.is_dir():
            (Path(above) / "shared").symlink_to(beside)
        added = _git("worktree", "add", "--detach", str(folder), name)
        if added.returncode:
            raise BadCommit(f"--compare {commit}: git cannot check it out: {_last_line(added.stderr)}")
        try:
            yield folder, name[:12]
        finally:
            _git("worktree", "remove", "--force", str(folder))


def run_row(folder: Path, row: str, seconds: float, words: Sequence[str]) -> Measure:
    """One row measured by that checkout's own benchmarks. Raises: CalledProcessError."""
    with TemporaryDirectory() as kept:
        output = Path(kept) / "results.json"
        asked = [row, "--seconds", str(seconds), *words, "--output", str(output)]
        subprocess.run(
            [sys.executable, "-m", "benchmarks.run", *asked],
            cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)},
            check=True, capture_output=True, encoding="utf-8",
        )  # fmt: skip
        return json.loads(output.read_text(encoding="utf-8"))["measures"][row]


def _git(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        ["git", *words], cwd=REPOSITORY, env=environment, capture_output=True, encoding="utf-8", check=False
    )


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it says nothing"])[-1]


def _lines(measures: Sequence[Measure]) -> dict[str, list[Mapping[str, Any]]]:
    """The lines of all turns by what they measure."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for line in (each for measure in measures for each in measure["lines"]):
        found.setdefault(line["what"], []).append(line)
    return found


def _seconds(measures: Sequence[Measure]) -> dict[str, list[float]]:
    """The rounds of all turns by part and run."""
    found: dict[str, list[float]] = {}
    for measure in measures:
        for part, runs in measure["seconds"].items():
            for run, rounds in runs.items():
                found.setdefault(f"{part}, {run}" if len(measure["seconds"]) > 1 else run, []).extend(rounds)
    return found


def _joined(lines: Sequence[Mapping[str, Any]]) -> Spread:
    """The median of the turns, and the furthest that any of their quartiles reach."""
    spreads = [line["spread"] for line in lines]
    return Spread(
        statistics.median(each["value"] for each in spreads),
        min(each["low"] for each in spreads),
        max(each["high"] for each in spreads),
        sum(each["rounds"] for each in spreads),
    )


def _negated(given: Spread) -> Spread:
    return Spread(-given.value, -given.high, -given.low, given.rounds)


def _table(name: str, changes: Sequence[Change]) -> list[str]:
    rows = [f"| row | measure | {name} | its spread | here | its spread | worse |", "|---|---|---|---|---|---|---|"]
    for each in changes:
        cells = [f"{each.row}", each.what]
        for found in (each.before, each.after):
            cells += [f"{found.value:.4g}", f"{found.low:.4g} to {found.high:.4g}"]
        verdict = "**yes**" if each.worse else "" if each.better is None else "no"
        rows.append(f"| {' | '.join([*cells, verdict])} |")
    return rows


def _verdict(name: str, worse: Sequence[Change]) -> list[str]:
    if not worse:
        return [f"Nothing is worse than {name} by more than its spread."]
    rows = [f"- {each.row}: {each.what}: {each.before.value:.4g} then, {each.after.value:.4g} here" for each in worse]
    return [f"Worse than {name} by more than their spread:", *rows]
