"""Time and memory of cells side by side: one process, the same rows, turn by turn, so that load hits all alike.

Memory is what one training step keeps for its backward pass, weights left out: counted from the tensors that autograd
saves, so it is the same on every machine. A process's resident size, most of it Python and torch, would hide it.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path

from dept_vl.config import Experiment
from dept_vl.model import Batch, Network
from dept_vl.run import Parts, build, resolve, start, training_batches
from dept_vl.run.measure import kept_bytes
from dept_vl.run.stages import start_stages
from dept_vl.untrusted.whole_files import write_files_whole

Costs = dict[str, dict[str, list[float]]]  # by cell: train_ms, eval_ms (by round), memory_mb


def measure_costs(configs: Mapping[str, Experiment], path: Path, *, rounds: int, rows: int) -> None:
    """Writes {cell: {"train_ms": [...], "eval_ms": [...], "memory_mb": [...]}} to `path`.

    train_ms: of one step's forward and backward pass in each round. eval_ms: of answering a validation row, timed over
    `rows` of them. memory_mb: in millions of bytes, one number.
    """
    accelerator = start(resolve(next(iter(configs.values()))))
    splits = {"train": ("train", None), "eval": ("val", rows)}
    parts = {name: build(resolve(config), accelerator, splits) for name, config in configs.items()}
    batches = {name: training_batches(each) for name, each in parts.items()}
    costs: Costs = {
        name: {"train_ms": [], "eval_ms": [], "memory_mb": [saved_bytes(each.network, batches[name][0]) / 1e6]}
        for name, each in parts.items()
    }
    order = list(parts)
    for number in range(rounds + 1):  # the first one warms up
        for name in order[number % len(order) :] + order[: number % len(order)]:
            step, answer = _seconds(parts[name], batches[name][number])
            if number:
                costs[name]["train_ms"].append(1000 * step)
                costs[name]["eval_ms"].append(1000 * answer / rows)
    write_files_whole(path.parent, {path.name: (json.dumps(costs) + "\n").encode()})


def read_costs(path: Path) -> Costs | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def saved_bytes(network: Network, batch: Batch) -> int:
    """What the forward pass of a training step keeps for the backward pass, weights left out."""
    network.train()
    return kept_bytes(lambda: network(batch).mean(), network.parameters())


def _seconds(parts: Parts, batch: Batch) -> tuple[float, float]:
    """Of a step and of answering the validation rows. With stages: of the mean step of a run, scoring included."""
    parts.network.train()
    with start_stages(parts.config, parts) as stages:
        if stages is None:
            step = _step_seconds(parts, batch)
        else:
            began = time.perf_counter()
            stages.enter(1)
            step, steps = (time.perf_counter() - began) / parts.config.max_steps, parts.config.max_steps
            starts = [stage.from_step for stage in stages.stages]
            for start, end in zip(starts, [*starts[1:], steps + 1], strict=True):
                stages.enter(start)
                step += (end - start) / steps * _step_seconds(parts, batch)
    parts.network.eval()
    began = time.perf_counter()
    parts.predict("eval")
    return step, time.perf_counter() - began


def _step_seconds(parts: Parts, batch: Batch) -> float:
    """Forward and backward pass, the best of three."""
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        parts.network(batch).mean().backward()
        seconds.append(time.perf_counter() - began)
        parts.network.zero_grad(set_to_none=True)
    return min(seconds)
