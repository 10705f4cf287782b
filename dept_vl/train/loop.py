"""The training loop: the only one for adapters.

It knows a `Network` by its forward pass, `param_groups()` and `trained_state()`, and batches by their number; it
knows no task. What it promises: one seed and one process give the same bytes again; a run that is killed and
resumed ends like one that was not; a number that is not finite stops it before it reaches the weights.
"""

import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from dept_vl.data.batches import TrainingBatches
from dept_vl.model import Network
from dept_vl.train.engines import build_engine
from dept_vl.train.log import RunLog
from dept_vl.train.progressive import Progressive
from dept_vl.train.state import Evaluate, Plan, RunState, Scores


@dataclasses.dataclass(frozen=True)
class Trained:
    """The result of training. `best_step` is the step whose weights the network now has."""

    steps: int
    best_step: int
    evaluations: list[Scores]
    train_seconds: float  # of all steps, those before a resume included; no evaluation, no saving
    first_step: int
    flops: int | None  # of the frozen model in all steps, forward and backward, over all processes; None: no formula
    flops_full: int | None  # what the same batches would have taken without partial models
    scoring_flops: int  # of measuring activations
    stages: list[dict[str, Any]]  # partial models by the step from which each acted; empty: none
    joined_parts: dict[str, Tensor]  # weights that the network has in parts, whole in the main process; see `Engine`


def train(
    accelerator: Accelerator,
    network: Network,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    batches: TrainingBatches,
    plan: Plan,
    folder: Path,
    *,
    evaluate: Evaluate | None = None,
    resume_from: Path | None = None,
    stages: Progressive | None = None,
) -> Trained:
    """Trains, and leaves the best weights (the last ones without evaluations) in the network.

    `batches` holds this process's share; with accumulation, step n reads the batches n k to n k + k - 1.
    Checkpoints go to folder/checkpoints, the log to folder/metrics.jsonl. `stages` say through which partial model each
    step goes; the caller closes them.

    Raises:
        NonFiniteLoss: naming the step and the groups; the state before that step is saved.
        BadCheckpoint: `resume_from` is not a whole checkpoint of such a run.
        OSError: a checkpoint could not be saved; earlier ones are untouched.
    """
    rates = {group["name"]: group.get("initial_lr", group["lr"]) for group in optimizer.param_groups}
    settings = {**batches.settings, "accumulation": accelerator.gradient_accumulation_steps, "lr": rates}
    first_group = optimizer.param_groups[0]
    settings |= {name: first_group[name] for name in ("weight_decay", "betas", "eps") if name in first_group}
    settings |= {"optimizer": type(optimizer).__name__, "parts": {n: p.config() for n, p in network.parts.items()}}
    settings = json.loads(json.dumps(settings))  # as a checkpoint has them
    if stages is not None:
        settings |= {"stages": [stage.facts() for stage in stages.stages], "neurons": stages.rule}
    engine = build_engine(accelerator, network, optimizer, plan.max_grad_norm)
    run = RunState(engine, schedule, plan, folder, RunLog(folder, accelerator), settings, stages)
    first = run.resume(resume_from) if resume_from else 0
    run.log.start(first)
    engine.prepare()
    accumulation = accelerator.gradient_accumulation_steps
    numbers = range(first * accumulation, plan.max_steps * accumulation)
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=numbers,
        num_workers=plan.num_workers,
        generator=torch.Generator(),  # its own: the loader's draw must not move the dropout of a resumed run
    )
    numbered = iter(loader)
    bar = tqdm(
        initial=first, total=plan.max_steps, desc="train", disable=not (plan.progress and accelerator.is_main_process)
    )
    network.train()
    step = first
    while not run.ended:
        step += 1
        started = time.perf_counter()
        run.note_start()
        if stages is not None:
            stages.enter(run.place + 1)
        loss, longest = torch.zeros((), device=accelerator.device), 0
        for place in range(accumulation):
            batch = next(numbered)
            longest = max(longest, network.covered_length(batch))
            run.flops.add(batch)
            loss += engine.learn(batch.to(accelerator.device), last=place == accumulation - 1) / accumulation
        (mean, norms), rates = run.measure(loss), run.rates()
        run.refuse_non_finite(step, mean, norms)
        engine.step(math.hypot(*norms.values()))
        run.observe(longest)
        run.seconds += time.perf_counter() - started
        run.advance(step)
        bar.update()
        if step % plan.logging_steps == 0 or run.ended:
            run.report(step, mean, norms, rates)
            bar.set_postfix(loss=f"{mean:.3f}")
        if evaluate and plan.eval_steps and (step % plan.eval_steps == 0 or run.ended):
            run.evaluate(step, evaluate)
        if run.ended or (plan.save_steps and step % plan.save_steps == 0):
            run.save(step)
    bar.close()
    best = run.best["step"] if run.best else step
    if best != step:
        run.load_best(best, step)
    network.eval()
    flops, flops_full = run.flops.total() or (None, None)
    return Trained(
        step, best, run.evaluations, run.seconds, first, flops, flops_full,
        scoring_flops=stages.scoring_flops if stages is not None else 0,
        stages=settings.get("stages", []), joined_parts=engine.joined_parts(),
    )  # fmt: skip
