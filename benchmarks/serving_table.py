"""The figures of benchmarks/serving.py as Markdown, and their place in a page."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.table import Target
from dept_vl.untrusted.whole_files import write_whole

BEGIN, END = "<!-- figures: python -m benchmarks.serving table --into docs/serving.md -->", "<!-- end of figures -->"
MEMORY = 0.05  # of the server's memory over the second half of the requests: more is no noise


def tables(found: Mapping[str, Any]) -> str:
    """The loads, then the targets."""
    lines = [
        "| clients | adapters | rows a second | CPU ms a row | p50 ms | p95 ms | p99 ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for key, load in found["loads"].items():
        clients, adapters = key.split()
        times = " | ".join(f"{load[name]:.1f}" for name in ("p50", "p95", "p99"))
        lines.append(f"| {clients} | {int(adapters):,} | {_both(load['rates'], load['cpu'])} | {times} |")
    half, loading = found["half"], found["loading"]
    apart = {name: _both(found["rates"][name], found["cpu"][name]) for name in found["rates"]}
    lines += [
        f"| none: one row at a time in the process | 20 | {apart['one row at a time']} | | | |",
        f"| 64, questions without pictures | {loading['number'] // 2:,} | {apart['questions']} | | | |",
        f"| none: PEFT, questions without pictures | 20 | {apart['peft']} | | | |",
        "",
        "| what | target | measured | quartiles | met |",
        "|---|---|---|---|---|",
    ]
    spreads = found["ratios"]
    lines += [
        _ratio("64 clients, most adapters / one", spreads["adapters"], Target(">=", 0.9)),
        _ratio("64 clients, questions alone / PEFT's set_adapter before each", spreads["peft"], Target(">=", 10)),
        _ratio("64 clients, most adapters / one row at a time", spreads["one row at a time"], None),
        _line(
            f"p99 of the queue time / a batch's time, at half load ({half['rate']:.0f} rows a second, "
            f"{half['queue_p99']:.1f} / {half['batch']:.1f} ms)",
            half["queue_p99"] / half["batch"],
            Target("<", 2),
        ),
        _line(
            f"loading one of the last adapters / of the first ({loading['last']:.1f} / {loading['first']:.1f} ms)",
            loading["last"] / loading["first"],
            None,
        ),
    ]
    if endured := found["endured"]:
        others = sum(endured["unexpected"].values())
        what = f"{endured['requests']:,} requests with disconnects, reloads and malformed bodies"
        lines += [
            _line(f"{what}: wrong answers", endured["wrong"], Target("=", 0)),
            _line(f"{what}: stuck requests", endured["stuck"], Target("=", 0)),
            _line(f"{what}: statuses that should have been others", others, Target("=", 0)),
            _line(
                f"{what}: growth of memory over the second half ({endured['rss'][-1]:.0f} MB at the end)",
                endured["growth"],
                Target("<", MEMORY),
            ),
        ]
    around = found["surroundings"]
    machine = around["machine"]
    lines += [
        "",
        f"`{found['how']}`, {around['date'][:10]}, {machine['processor']}, {machine['torch_threads']} threads, torch "
        f"{around['versions'].get('torch-version')}, commit {around['commit']}",
    ]
    return "\n".join(lines)


def insert(text: str, page: Path) -> None:
    """Put the tables between the page's two marks. Raises: ValueError where it has none."""
    own = page.read_text(encoding="utf-8")
    if own.count(BEGIN) != 1 or own.count(END) != 1:
        raise ValueError(f"{page}: wanted one {BEGIN} and one {END}, given another number")
    marked = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    write_whole(page, marked.sub(lambda _: f"{BEGIN}\n\n{text}\n\n{END}", own).encode())


def _both(rates: Sequence[float], cpu: Sequence[float]) -> str:
    return f"{median(rates):.0f} | {median(cpu):.2f}"


def _ratio(what: str, spread: Mapping[str, float], target: Target | None) -> str:
    quartiles = f"{spread['low']:.2f} to {spread['high']:.2f}" if spread["rounds"] > 1 else ""
    return _line(what, spread["value"], target, quartiles)


def _line(what: str, value: float, target: Target | None, quartiles: str = "") -> str:
    wanted = "(reference)" if target is None else f"{target.sense} {target.bound:g}"
    met = "" if target is None else "yes" if target.met(value) else "**no**"
    return f"| {what} | {wanted} | {value:.3g} | {quartiles} | {met} |"
