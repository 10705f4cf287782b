"""Load `dept-vl serve` on this machine and compare it with PEFT's `set_adapter` and with one row at a time.

python -m benchmarks.serving --run runs/vqa_shapes                  # some 12 minutes, into runs/benchmarks/serving.json
python -m benchmarks.serving --seconds 1 --requests 300 --rounds 1  # does it run? Its figures say nothing
python -m benchmarks.serving table --into docs/serving.md           # the kept figures as Markdown, into that page

The clients run beside the server and take their share of the processor. All loads go round by round, so that what else
the machine does hits all alike; a figure is the median of its rounds.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from benchmarks.serving_clients import Draw, Load, ask_once, closed_loop, metrics, open_loop, request
from benchmarks.serving_endurance import endure
from benchmarks.serving_peft import PeftServer
from benchmarks.serving_table import insert, tables
from benchmarks.serving_world import Rows, Zipf, server, write_adapters
from benchmarks.timing import ratio, surroundings
from dept_vl.serve import AdaptedModel
from dept_vl.untrusted.whole_files import check_writable, write_whole

CLIENTS, ADAPTERS = (1, 8, 64), (1, 100, 1000)
FEW = 20  # adapters of those that are asked in the process, and whose answers are compared
QUEUE = "dept_vl_queue_seconds"


def main(words: Sequence[str] | None = None) -> str:
    words = sys.argv[1:] if words is None else words
    given = _parser().parse_args(words)
    if given.what == "table":
        text = tables(json.loads(given.output.read_text(encoding="utf-8")))
        if given.into:
            insert(text, given.into)
        return text
    check_writable(given.output)
    with TemporaryDirectory() as folder:
        found = measure(given.run, Path(folder), given.seconds, given.rounds, given.requests, given.adapters)
    found["how"] = f"python -m benchmarks.serving {' '.join(words)}".rstrip()
    found["surroundings"] = surroundings(torch.device("cpu"))
    write_whole(given.output, (json.dumps(found, indent=1) + "\n").encode())
    return tables(found)


def measure(
    run: Path, folder: Path, seconds: float, rounds: int, requests: int, adapters: Sequence[int]
) -> dict[str, Any]:
    """seconds: of each load in each round."""
    root = folder / "adapters"
    names, rows = write_adapters(run, root, max(adapters)), Rows(folder / "shapes")
    texts = write_adapters(run, root, max(adapters), pictures=False)
    few = names[:FEW]
    wanted, alone = rows.answers(run, root, few), _loaded(run, root, few)
    one = _one_by_one(alone, rows, few)
    peft = PeftServer(_loaded(run, root, texts[:FEW]), texts[:FEW], [text for _, text in rows.rows])
    with server(run, root) as port:
        loading = asyncio.run(_load(port, names + texts))
        _say(f"{len(names + texts):,} adapters loaded")
        loads: dict[str, list[Load]] = {}
        rates: dict[str, list[float]] = {"questions": [], "peft": [], "one row at a time": []}
        cpu: dict[str, list[float]] = {name: [] for name in rates}
        for number in range(rounds):
            draw = _draw(rows, texts, picture=False)
            load = asyncio.run(closed_loop(port, CLIENTS[-1], seconds, draw, seed=number))
            rates["questions"].append(len(load.seconds) / load.took)
            cpu["questions"].append(1000 * load.cpu / len(load.seconds))
            for name, ask in {"peft": peft.answer, "one row at a time": one}.items():
                rate, took = _rate(ask, seconds, number)
                rates[name].append(rate)
                cpu[name].append(took)
            for clients in CLIENTS:
                for count in adapters:
                    draw = _draw(rows, names[:count])
                    load = asyncio.run(closed_loop(port, clients, seconds, draw, seed=number))
                    loads.setdefault(f"{clients} {count}", []).append(load)
            _say(f"round {number + 1} of {rounds}")
        busiest = [len(load.seconds) / load.took for load in loads[f"{CLIENTS[-1]} {adapters[-1]}"]]
        half = asyncio.run(_half_load(port, median(busiest) / 2, seconds * rounds, _draw(rows, names)))
        _say("half load")
        endured = asyncio.run(endure(port, requests, CLIENTS[-1], rows, wanted)) if requests else None
    found = {
        "loads": {key: _summary(each) for key, each in loads.items()},
        "rates": rates,
        "cpu": cpu,
        "half": half,
        "loading": loading,
        "endured": None if endured is None else endured.as_json(),
    }
    most, least = (found["loads"][f"{CLIENTS[-1]} {count}"]["rates"] for count in (adapters[-1], adapters[0]))
    found["ratios"] = {
        "adapters": asdict(ratio(most, least)),
        "peft": asdict(ratio(rates["questions"], rates["peft"])),
        "one row at a time": asdict(ratio(most, rates["one row at a time"])),
    }
    return found


def _draw(rows: Rows, names: Sequence[str], *, picture: bool = True) -> Draw:
    zipf = Zipf(names)

    def draw(chosen: random.Random) -> tuple[bytes, bytes]:
        return rows.request(zipf.draw(chosen), chosen.randrange(len(rows.rows)), picture=picture), b""

    return draw


def _loaded(run: Path, root: Path, names: Sequence[str]) -> AdaptedModel:
    model = AdaptedModel.from_pretrained(run, adapter_name="base")
    for name in names:
        model.load_adapter(root / name, name)
    return model


def _summary(loads: Sequence[Load]) -> dict[str, Any]:
    seconds = np.array([each for load in loads for each in load.seconds])
    p50, p95, p99 = (1000 * float(each) for each in np.percentile(seconds, [50, 95, 99]))
    others = {status for load in loads for status in load.statuses} - {200}
    rates = [len(load.seconds) / load.took for load in loads]
    cpu = [1000 * load.cpu / len(load.seconds) for load in loads]
    times = {"p50": p50, "p95": p95, "p99": p99}
    return {"rates": rates, "cpu": cpu, **times, "requests": len(seconds), "others": sorted(others)}


async def _load(port: int, names: Sequence[str]) -> dict[str, float]:
    """Milliseconds to load the first and the last tenth, by request."""
    took = []
    for name in names:
        began = time.perf_counter()
        asked = request("/v1/adapters", json.dumps({"name": name, "folder": name}).encode())
        status, body = await ask_once(port, asked)
        if status != 201:
            raise RuntimeError(f"{name} was not loaded: {body.decode()}")
        took.append(1000 * (time.perf_counter() - began))
    tenth = max(1, len(took) // 10)
    return {"number": len(names), "first": median(took[:tenth]), "last": median(took[-tenth:])}


def _one_by_one(model: AdaptedModel, rows: Rows, names: Sequence[str]) -> Callable[[random.Random], object]:
    """AdaptedModel asked for one row, without HTTP."""
    zipf = Zipf(names)

    def ask(chosen: random.Random) -> list[str]:
        picture, question = chosen.choice(rows.rows)
        return model.answer([picture], [question], [zipf.draw(chosen)])

    return ask


def _rate(ask: Callable[[random.Random], object], seconds: float, seed: int) -> tuple[float, float]:
    """How often it is done in a second, and milliseconds of the processor that each takes."""
    chosen, began, used, done = random.Random(seed), time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < seconds:
        ask(chosen)
        done += 1
    return done / (time.perf_counter() - began), 1000 * (time.process_time() - used) / done


async def _half_load(port: int, rate: float, seconds: float, draw: Draw) -> dict[str, float]:
    """Requests come at random at half of what 64 clients get; how long rows wait, and a batch takes."""
    before = await metrics(port)
    load = await open_loop(port, rate, seconds, draw)
    after = await metrics(port)
    grown: Callable[[str], float] = lambda name: after[name] - before[name]  # noqa: E731
    edges = sorted(
        (float(name.split('le="')[1].rstrip('"}')), grown(name)) for name in after if name.startswith(f"{QUEUE}_bucket")
    )
    batch = grown("dept_vl_model_seconds_sum") / grown("dept_vl_model_seconds_count")
    rows = grown("dept_vl_batch_rows_sum") / grown("dept_vl_batch_rows_count")
    p50, p99 = 1000 * float(np.percentile(load.seconds, 50)), 1000 * float(np.percentile(load.seconds, 99))
    return {
        "rate": rate, "queue_p50": 1000 * quantile(edges, 0.5), "queue_p99": 1000 * quantile(edges, 0.99),
        "batch": 1000 * batch, "batch_rows": rows, "p50": p50, "p99": p99,
    }  # fmt: skip


def quantile(edges: Sequence[tuple[float, float]], share: float) -> float:
    """Of a histogram's cumulative counts by upper edge, between two edges in a straight line, as Prometheus has it."""
    wanted, lower, below = share * edges[-1][1], 0.0, 0.0
    for upper, count in edges:
        if count >= wanted:
            return lower if upper == float("inf") else lower + (upper - lower) * (wanted - below) / (count - below)
        lower, below = upper, count
    return lower


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["measure", "table"], default="measure")
    parser.add_argument("--run", type=Path, default=Path("runs/vqa_shapes"), help="as make quickstart trains it")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=10_000, help="of the run with disconnects and reloads; 0: none")
    parser.add_argument("--adapters", type=int, nargs="+", default=list(ADAPTERS))
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks/serving.json"))
    parser.add_argument("--into", type=Path, help="a page whose marked place gets the tables")
    return parser


if __name__ == "__main__":
    print(main())
