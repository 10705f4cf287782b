"""Time and memory of cells side by side: one process, the same rows, turn by turn, so that load hits all alike.

Memory is what one training step keeps for its backward pass, weights left out: counted from the tensors that autograd
saves, so it is the same on every machine. A process's resident size, most of it Python and torch, would hide it.

Inference is timed as the network was trained, and folded: an adapter that does not read the text as constants, a method
that merges with its weights written into the frozen model's.
"""

import dataclasses
import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch.utils.flop_counter import FlopCounterMode

from dept_vl.config import Experiment
from dept_vl.data.batches import evaluation_batches
from dept_vl.model import BankEntry
from dept_vl.plans.runs import Run, key, make_run, make_schedule
from dept_vl.plans.schema import PlanFile
from dept_vl.plans.settings import BadPlan
from dept_vl.run import Parts, build, resolve, start, training_batches
from dept_vl.run.measure import step_bytes
from dept_vl.run.stages import start_stages
from dept_vl.train.evaluate import Answerer
from dept_vl.tuning import BadTuning
from dept_vl.untrusted.folder_lock import only_run
from dept_vl.untrusted.whole_files import write_files_whole

Costs = dict[str, dict[str, list[float]]]  # by cell: train_ms, eval_ms, folded_ms (by round), memory_mb, eval_gflops
_FOLDED = "folded"


def cost_runs(plan: PlanFile, root: Path) -> dict[str, Run]:
    """A run of each cell whose costs are measured; of one that mixes the prompts of others its first that is scored."""
    cells, first = [plan.cell(name) for name in plan.costed()], {}
    if any(cell.sources is not None for cell in cells):  # only a whole schedule knows the runs of their prompts
        schedule = make_schedule([plan], root)
        first = {place.cell: schedule.runs[place.run] for place in reversed(schedule.places[plan.name])}
    return {
        cell.name: make_run(plan, cell, cell.tasks[0], cell.seeds[0], cell.draws[0], None, root)
        if cell.sources is None
        else first[cell.name]
        for cell in cells
    }


def costs_path(plan: PlanFile, root: Path) -> Path:
    """Named by the cells and their settings: others are measured anew."""
    names = "".join(f"{cell}:{key(run.config, prompts=run.sources)}" for cell, run in cost_runs(plan, root).items())
    return root / "costs" / f"{plan.name}_{hashlib.sha256(names.encode()).hexdigest()[:10]}.json"


def measure_costs(configs: Mapping[str, Experiment], path: Path, *, rounds: int, rows: int) -> None:
    """Write {cell: {"train_ms": [...], ...}} to `path`, unless it is there.

    train_ms: of one step's forward and backward pass in each round. eval_ms: of answering a validation row, timed over
    `rows` of them. folded_ms: the same of the folded network; none for what neither folds nor merges. memory_mb: in
    millions of bytes, one number. eval_gflops: operations of answering a row, in 10^9, one number.

    Raises: FolderInUse while another process measures them.
    """
    with only_run(path):
        if not path.exists():
            costs = _measure(configs, rounds, rows)
            write_files_whole(path.parent, {path.name: (json.dumps(costs) + "\n").encode()})


def _measure(configs: Mapping[str, Experiment], rounds: int, rows: int) -> Costs:
    if len({each.bf16 for each in configs.values()}) > 1:
        given = ", ".join(f"{name} {each.bf16}" for name, each in configs.items())
        raise BadPlan(f"measure: costs: wanted one bf16 for all cells, which are timed in one process, given {given}")
    accelerator = start(resolve(next(iter(configs.values()))))
    splits = {"train": ("train", None), "eval": ("val", rows)}
    parts = {name: build(resolve(config), accelerator, splits) for name, config in configs.items()}
    batches = {name: training_batches(each) for name, each in parts.items()}
    kept = {name: _kept(parts[name], batches[name][0]) for name in parts}
    costs: Costs = {
        name: {
            "train_ms": [],
            "eval_ms": [],
            "memory_mb": [kept[name] / 1e6],
            "eval_gflops": [_answer_flops(each) / 1e9 / rows],
        }
        for name, each in parts.items()
    }
    folded = {name: each for name in parts if (each := _folded(parts[name], configs[name], accelerator, splits))}
    order = list(parts)
    for number in range(rounds + 1):  # the first one warms up
        for name in order[number % len(order) :] + order[: number % len(order)]:
            step, answer = _seconds(parts[name], batches[name][number])
            once = _answer_seconds(folded[name], folded=True) if name in folded else None
            if number:
                costs[name]["train_ms"].append(1000 * step)
                costs[name]["eval_ms"].append(1000 * answer / rows)
                if once is not None:
                    costs[name].setdefault("folded_ms", []).append(1000 * once / rows)
    return costs


def _folded(
    parts: Parts, config: Experiment, accelerator: Accelerator, splits: Mapping[str, tuple[str, int | None]]
) -> Parts | None:
    """The parts as they serve: the adapter folded, in a network of its own where a method merges into the frozen
    model. None where nothing of them folds."""
    inside = parts.network.inside
    constant = parts.network.adapter.num_virtual_tokens > 0 and parts.network.adapter.fold() is not None
    if inside is None and not constant:
        return None
    if inside is not None:
        parts = build(resolve(config), accelerator, splits)
        try:
            parts.network.inside.merge()
        except BadTuning:
            return None
    network, fold = parts.network, parts.network.adapter.fold()
    network.bank[_FOLDED] = BankEntry(network.adapter if fold is None else fold, network.projection)
    return parts


def _answer_flops(parts: Parts) -> int:
    """Floating-point operations of answering the validation rows, as torch counts them. No weight wants a gradient
    meanwhile: torch's counter fails where a module returns one that is read without (a prefix)."""
    counter = FlopCounterMode(display=False)
    trained = [each for each in parts.network.parameters() if each.requires_grad]
    for each in trained:
        each.requires_grad_(False)
    try:
        with counter:
            _answer_seconds(parts)
    finally:
        for each in trained:
            each.requires_grad_(True)
    return counter.get_total_flops()


def read_costs(path: Path) -> Costs | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _seconds(parts: Parts, batch: Any) -> tuple[float, float]:
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
    return step, _answer_seconds(parts)


def _answer_seconds(parts: Parts, *, folded: bool = False) -> float:
    """Of answering the validation rows, their batches made before."""
    network, encoded = parts.network.eval(), parts.encoded["eval"]
    answer = Answerer(network, parts.tokenizer, parts.decoding())
    size = parts.config.per_device_eval_batch_size
    batches = list(evaluation_batches(encoded, parts.gather, batch_size=size, by_image=network.shares_images))
    began = _clock()
    for batch in batches:
        own = dataclasses.replace(batch, adapters=(_FOLDED,) * len(batch.ids)) if folded else batch
        with parts.accelerator.autocast():
            answer(own.to(parts.accelerator.device))
    return _clock() - began


def _step_seconds(parts: Parts, batch: Any) -> float:
    """Forward and backward pass, the best of three."""
    seconds = []
    batch = batch.to(parts.accelerator.device)
    for _ in range(3):
        began = _clock()
        with parts.accelerator.autocast():
            loss = parts.network(batch).mean()
        loss.backward()
        seconds.append(_clock() - began)
        parts.network.zero_grad(set_to_none=True)
    return min(seconds)


def _kept(parts: Parts, batch: Any) -> int:
    """Bytes that a step keeps."""
    with parts.accelerator.autocast():
        return step_bytes(parts.network, batch.to(parts.accelerator.device))


def _clock() -> float:
    """Seconds, once a GPU has done what it was asked."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
