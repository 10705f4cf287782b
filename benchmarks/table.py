"""The measured lines, their targets, the file that keeps them and the table that shows them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchmarks.timing import Spread, Times
from dept_vl.untrusted.whole_files import write_whole

FORMAT = 1


class BadResults(ValueError):
    """A file of results that cannot be read."""


@dataclass(frozen=True)
class Target:
    """What a figure must be at most, at least, below or exactly."""

    sense: Literal["<=", ">=", "<", "="]
    bound: float

    def met(self, value: float) -> bool:
        match self.sense:
            case "<=":
                return value <= self.bound
            case ">=":
                return value >= self.bound
            case "<":
                return value < self.bound
            case _:
                return value == self.bound


@dataclass(frozen=True)
class Line:
    """One figure. target None: a reference line, shown without a verdict. unit: "x" a ratio, "%" a share in fractions,
    "" a count, anything else the unit's own name."""

    what: str
    spread: Spread
    target: Target | None = None
    unit: Literal["x", "%", "", "s", "samples/s", "MB", "GiB", "TFLOP/s"] = "x"

    @property
    def met(self) -> bool | None:
        return None if self.target is None else self.target.met(self.spread.value)


@dataclass(frozen=True)
class Measured:
    """What a measure found: its lines, the seconds they come from, and facts such as sizes; "not_measured" among them
    has what could not be had, with the reason. made: the date and commit of runs that it was read off; {}: it was
    measured now."""

    lines: list[Line]
    seconds: Mapping[str, Times] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    made: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        lines = [{**asdict(line), "met": line.met} for line in self.lines]
        return {"lines": lines, "seconds": dict(self.seconds), "facts": dict(self.facts)}


def exactly(value: float, rounds: int = 1) -> Spread:
    """A figure that was counted, not timed: it has no spread."""
    return Spread(value, value, value, rounds)


def read_results(path: Path) -> dict[str, Any]:
    """The file's measures by name, none where there is no file. Raises: BadResults."""
    if not path.exists():
        return {"format": FORMAT, "measures": {}}
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        given = results["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadResults(f"{path}: wanted a file of benchmarks/run.py, given something else ({error!r})") from error
    if given != FORMAT:
        raise BadResults(f"{path}: wanted format {FORMAT}, given {given!r}: move it away and measure again")
    return results


def keep(path: Path, measures: Mapping[str, Mapping[str, Any]]) -> None:
    """Puts these measures into the file, beside those that it has of others."""
    results = read_results(path)
    results["measures"].update(measures)
    write_whole(path, (json.dumps(results, indent=1) + "\n").encode())


def table(measures: Mapping[str, Mapping[str, Any]], numbers: Mapping[str, int | str]) -> str:
    """The measures as a Markdown table in the order of `numbers`; what was not measured says so."""
    rows = ["| # | measure | target | measured | quartiles | rounds | met |", "|---|---|---|---|---|---|---|"]
    for name, number in numbers.items():
        if name not in measures:
            rows.append(f"| {number} | {name} | | not measured | | | |")
            continue
        for line in measures[name]["lines"]:
            rows.append(f"| {number} | {name}: {line['what']} | {_cells(line)} |")
        for what, why in measures[name]["facts"].get("not_measured", {}).items():
            rows.append(f"| {number} | {name}: {what} | | not measured: {' '.join(why.split())[:200]} | | | |")
    return "\n".join(rows)


def provenance(measures: Mapping[str, Mapping[str, Any]]) -> str:
    """Command, date, machine, threads, type, versions and commit as Markdown, a line for those measures that share
    them."""
    rows: dict[str, list[str]] = {}
    for name, measure in measures.items():
        how, around = measure["how"], measure["surroundings"]
        machine, versions = around["machine"], around["versions"]
        device = machine["processor"] if machine["accelerator"] == "cpu" else machine["accelerator"]
        packages = ", ".join(f"{each} {versions.get(f'{each}-version')}" for each in ("torch", "transformers", "peft"))
        made = (
            f"`{how['command']}`, {around['date'][:10]}, {device}, {machine['torch_threads']} threads, "
            f"{how['dtype']}, {packages}, commit {around['commit']}"
        )
        rows.setdefault(made, []).append(name)
    return "\n".join(f"- {', '.join(names)}: {made}" for made, names in rows.items())


def _cells(line: Mapping[str, Any]) -> str:
    unit, spread, target = line["unit"], line["spread"], line["target"]
    value, low, high = (_number(spread[name], unit) for name in ("value", "low", "high"))
    wanted = "(reference)" if target is None else f"{target['sense']} {_number(target['bound'], unit)}"
    verdict = {None: "", True: "yes", False: "**no**"}[line["met"]]
    quartiles = f"{low} to {high}" if spread["rounds"] > 1 else ""
    return " | ".join([wanted, value, quartiles, str(spread["rounds"]), verdict])


def _number(value: float, unit: str) -> str:
    match unit:
        case "%":
            return f"{100 * value:.1f} %"
        case "x":
            return f"{value:.3f}" if value < 2 else f"{value:.2f}"
        case _:
            return f"{value:.4g} {unit}".rstrip()
