"""Train what `build` made: the optimizer, the batches, and the score that picks the best step."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from dept_vl.config import BadConfig
from dept_vl.data.batches import TrainingBatches
from dept_vl.run.components import GENERATED, resume_point
from dept_vl.run.compute import settle
from dept_vl.run.parts import Parts
from dept_vl.run.stages import start_stages
from dept_vl.train import Plan, RunLog, Trained, train
from dept_vl.train.optim import build_optimizer, build_schedule


def training_batches(parts: Parts) -> TrainingBatches:
    """This process's share of every batch of a run."""
    config, world = parts.config, parts.accelerator.num_processes
    return TrainingBatches(
        parts.encoded["train"],
        parts.gather,
        batch_size=config.per_device_train_batch_size * world,
        seed=config.seed,
        length_step=config.length_step or (8 if config.task.root == GENERATED else 2),
        rank=parts.accelerator.process_index,
        world=world,
    )


def settled(parts: Parts) -> Parts:
    """The parts with the choice of threads and number format, by which this process computes from now on."""
    choice = settle(parts.config, parts.accelerator, parts.network, lambda: training_batches(parts))
    return dataclasses.replace(
        parts, choice=choice, members=tuple(dataclasses.replace(each, choice=choice) for each in parts.members)
    )


def new_optimizer(parts: Parts) -> torch.optim.Optimizer:
    """The config's, over the groups of the network."""
    optim = parts.config.optim
    return build_optimizer(
        parts.network.param_groups(),
        optim.lr,
        name=optim.name,
        weight_decay=optim.weight_decay,
        betas=optim.betas,
        eps=optim.eps,
    )


def fit(parts: Parts, folder: Path, then: Callable[[], None] | None = None) -> Trained:
    """Trains the parts; the network ends with the best weights. then: called before a progressive run's last stage is
    closed."""
    config, optim = parts.config, parts.config.optim
    if not config.max_steps:
        return _untrained(parts, folder)
    optimizer = new_optimizer(parts)
    schedule = build_schedule(
        optimizer, name=optim.lr_scheduler_type, max_steps=config.max_steps, warmup_steps=optim.warmup_steps
    )
    batches = training_batches(parts)
    if parts.accelerator.device.type == "cuda":  # what is reported is the training's own peak
        torch.cuda.reset_peak_memory_stats(parts.accelerator.device)
    metric = config.metric_for_best_model or parts.task.headline
    plan = Plan(
        max_steps=config.max_steps,
        max_seconds=config.max_seconds,
        eval_steps=config.eval_steps,
        save_steps=config.save_steps,
        logging_steps=config.logging_steps,
        save_total_limit=config.save_total_limit,
        max_grad_norm=optim.max_grad_norm,
        metric=metric,
        num_workers=config.dataloader_num_workers,
        progress=config.progress,
        compute=parts.choice.compute if parts.choice else None,
    )

    def evaluate() -> dict[str, float]:
        scores = parts.score("eval", parts.predict("eval"), quick=metric == parts.task.headline)
        numbers = _numbers(scores)
        if metric not in numbers:
            why = scores.get("skipped", {}).get(metric, "the evaluation gave none")
            wanted = f"wanted one of {', '.join(numbers)}"
            raise BadConfig(f"metric_for_best_model: {wanted}, given {metric!r}: {why}")
        return numbers

    with start_stages(config, parts) as stages:
        trained = train(
            parts.accelerator,
            parts.network,
            optimizer,
            schedule,
            batches,
            plan,
            folder,
            evaluate=evaluate if config.eval_steps else None,
            resume_from=resume_point(config),
            stages=stages,
        )
        if then is not None:
            if stages is not None:  # a run that was resumed behind its last step has entered none
                stages.enter(config.max_steps)
            then()
        return trained


def _untrained(parts: Parts, folder: Path) -> Trained:
    """Of a frozen model alone, whose log is empty."""
    RunLog(folder, parts.accelerator).start(0)
    parts.network.eval()
    return Trained(
        steps=0, best_step=0, evaluations=[], train_seconds=0.0, first_step=0, flops=None, flops_full=None,
        scoring_flops=0, stages=[], joined_parts={},
    )  # fmt: skip


def _numbers(scores: Mapping[str, Any]) -> dict[str, float]:
    """Those of a mixture's tasks with the task in front: cola/accuracy."""
    own = {name: value for name, value in scores.items() if isinstance(value, int | float)}
    tasks = scores.get("tasks", {}).items()
    return own | {f"{task}/{name}": value for task, each in tasks for name, value in _numbers(each).items()}
