"""Propose learning rates by a range test over what `build` made: one sweep of rates for each group of weights.

Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, section 3.3, with three changes. Each group
has a sweep of its own, from the same weights, while the others stand still. A loss is compared with that of the
untrained weights on the same batch with the same dropout, so what is seen is the rate and not the batch. And the
optimizer is the run's own, AdamW or Adafactor, whose steps are as long as the rate says.
"""

import dataclasses
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import yaml
from accelerate.utils import DistributedType
from torch.utils.data import Dataset

from dept_vl.config import BadConfig, Experiment
from dept_vl.run.assembly import build, start
from dept_vl.run.components import check
from dept_vl.run.data_lines import Report
from dept_vl.run.fitting import new_optimizer, settled, training_batches
from dept_vl.run.prompt_rate import embedding_rms
from dept_vl.run.tasks import resolve
from dept_vl.train import NonFiniteLoss
from dept_vl.train.engine import Engine
from dept_vl.train.engines import build_engine

LOWEST, HIGHEST = 1e-5, 10.0  # the second times the embeddings' root mean square, where that is above 1
SMOOTHING = 0.6  # of the exponential moving average, over steps
DIVERGED = 0.1  # a smoothed loss so much of the start's above it ends a sweep
MARGIN = 3.0  # at least, between a proposal and the rate at which the sweep diverged
FIRST_WAY_DOWN = 0.9  # share of the greatest fall: what comes behind it may leap up and fall again
LEAST_FALL = 0.01  # of the start's loss, below which nothing is proposed
_FEWEST_STEPS, _FEWEST_POINTS = 10, 3


@dataclasses.dataclass(frozen=True)
class Curve:
    """The sweep of one group. `rates` and `losses` (nats a target token) are smoothed alike.

    steepest: the rate at which the loss falls fastest, per decade of rates, on its first way down to nine tenths of its
    greatest fall. lowest: that of the lowest loss. diverged:
    where the sweep ended because the loss had risen above the start's by a tenth of it; None: it did not. proposed:
    `steepest`, but at most a third of `diverged`; None where no rate lowered the loss by a hundredth.
    """

    rates: list[float]
    losses: list[float]
    start: float
    steepest: float
    lowest: float
    diverged: float | None
    proposed: float | None


@dataclasses.dataclass(frozen=True)
class Proposal:
    """`rates` has every group: what is proposed, or the configured rate where nothing is. rms: of the embedding table's
    entries, the unit in which prompts of different models have rates alike."""

    curves: dict[str, Curve]
    configured: dict[str, float]
    rates: dict[str, float]
    rms: float

    def flags(self) -> str:
        return " ".join(f"--optim.lr.{name} {rate:g}" for name, rate in self.rates.items())

    def yaml(self) -> str:
        return yaml.safe_dump({"optim": {"lr": self.rates}}, default_flow_style=None)

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def propose_rates(config: Experiment, steps: int = 60, report: Report | None = None) -> Proposal:
    """Sweep the rate of each group over `steps` optimizer steps on training batches. The run folder is not touched.

    Stages of partial models are left out: the whole model is tested.

    Raises: BadConfig for several processes or too few steps, and what `build` raises.
    """
    if steps < _FEWEST_STEPS:
        raise BadConfig(f"steps: wanted at least {_FEWEST_STEPS} for each group, given {steps}")
    if "," in config.task.name and not config.task.mixture:
        raise BadConfig(f"task.name: wanted one task, or task.mixture for several, given {config.task.name}")
    _check_alone()
    config = dataclasses.replace(config, report_to="none", resume_from_checkpoint=None)
    check(config)
    config = resolve(config)
    accelerator = start(config)
    if accelerator.distributed_type != DistributedType.NO:
        raise BadConfig(f"wanted one process for a range test, given {accelerator.distributed_type}")
    task = config.task
    parts = build(config, accelerator, {"train": (task.train_split, task.max_train_samples)}, report=report)
    parts = settled(parts)
    config = parts.config
    optimizer = new_optimizer(parts)
    engine = build_engine(accelerator, parts.network, optimizer, config.optim.max_grad_norm)
    engine.prepare()
    rms = embedding_rms(parts.network.backbone)
    rates = np.geomspace(LOWEST, HIGHEST * max(1.0, rms), steps).tolist()
    curves = range_test(engine, training_batches(parts), rates, seed=config.seed)
    configured = {name: config.optim.lr[name] for name in curves}
    proposed = {
        name: configured[name] if curve.proposed is None else float(f"{curve.proposed:.2g}")
        for name, curve in curves.items()
    }
    return Proposal(curves, configured, proposed, rms)


def _check_alone() -> None:
    """Raises: BadConfig, before processes wait for each other."""
    given = os.environ.get("WORLD_SIZE", "1")
    if given != "1":
        raise BadConfig(f"wanted one process for a range test, given {given} (WORLD_SIZE)")


def range_test(engine: Engine, batches: Dataset[Any], rates: Sequence[float], *, seed: int = 0) -> dict[str, Curve]:
    """The curve of each group of the engine's network, whose weights and optimizer are afterwards as before.

    Step n of a sweep has rates[n], and its outcome is the loss on the batch of step n + 1.

    Raises: NonFiniteLoss for a loss that is so before anything trained.
    """
    network, optimizer = engine.network, engine.optimizer
    groups = network.param_groups()
    before = {name: [weight.detach().clone() for weight in group] for name, group in groups.items()}
    configured = [group["lr"] for group in optimizer.param_groups]
    curves = {}
    network.train()
    with torch.random.fork_rng():
        with torch.no_grad():
            starts = [_loss(engine, batches, number, seed, learn=False) for number in range(len(rates) + 1)]
        if not all(map(math.isfinite, starts)):
            raise NonFiniteLoss(f"wanted finite losses before a step was taken, given {starts}")
        for name in sorted(groups):
            losses = _sweep(engine, batches, rates, name, starts, seed)
            curves[name] = read_curve(rates, losses, starts[1:])
            optimizer.zero_grad(set_to_none=True)
            optimizer.state.clear()
            with torch.no_grad():
                for group, saved in before.items():
                    for weight, value in zip(groups[group], saved, strict=True):
                        weight.copy_(value)
    for group, rate in zip(optimizer.param_groups, configured, strict=True):
        group["lr"] = rate
    network.eval()
    return curves


def _loss(engine: Engine, batches: Dataset[Any], step: int, seed: int, *, learn: bool) -> float:
    """The mean over the batches of an optimizer step, whose dropout depends on their numbers alone."""
    accelerator, total = engine.accelerator, 0.0
    accumulation = accelerator.gradient_accumulation_steps
    for place in range(accumulation):
        number = step * accumulation + place
        torch.manual_seed(seed + number)
        batch = batches[number].to(accelerator.device)
        if learn:
            loss = engine.learn(batch, last=place == accumulation - 1)
        else:
            with accelerator.autocast():
                loss = engine.network(batch).mean()
        total += float(loss) / accumulation
    return total


def _sweep(
    engine: Engine, batches: Dataset[Any], rates: Sequence[float], name: str, starts: Sequence[float], seed: int
) -> list[float]:
    """The loss behind each step while `name` alone trains; fewer than rates where it diverged."""
    losses: list[float] = []
    for step in range(len(rates) + 1):
        last = step == len(rates)
        with torch.set_grad_enabled(not last):
            loss = _loss(engine, batches, step, seed, learn=not last)
        gradients = [each for group in engine.gradients().values() for each in group]
        norm = float(torch.nn.utils.get_total_norm(gradients)) if gradients else 0.0
        if not (math.isfinite(loss) and math.isfinite(norm)):
            break
        if step:
            losses.append(loss)
            rises = np.subtract(losses, starts[1 : step + 1])
            if smooth(rises)[-1] > DIVERGED * np.mean(starts):
                break
        if not last:
            for group in engine.optimizer.param_groups:
                group["lr"] = float(rates[step]) if group["name"] == name else 0.0
            engine.step(norm)
    return losses


def read_curve(rates: Sequence[float], losses: Sequence[float], starts: Sequence[float]) -> Curve:
    """What the losses behind each rate say, given those of the untrained weights on the same batches.

    Both the loss's rise over the start and the logarithm of the rate go through one moving average, so that a smoothed
    loss stands at the rates of which it is made.
    """
    start = float(np.mean(starts))
    if len(losses) < _FEWEST_POINTS:
        raise NonFiniteLoss(f"wanted {_FEWEST_POINTS} finite losses from the rate {rates[0]:g} on, given {len(losses)}")
    rises = smooth(np.subtract(losses, starts[: len(losses)]))
    places = smooth(np.log10(rates[: len(losses)]))
    least = int(np.argmin(rises))
    down = int(np.argmax(rises <= FIRST_WAY_DOWN * rises[least])) if rises[least] < 0 else least
    slopes = np.gradient(rises, places)[: down + 1]
    steepest, lowest = (float(10 ** places[place]) for place in (int(np.argmin(slopes)), least))
    ended = len(losses) < len(rates) or rises[-1] > DIVERGED * start
    diverged = float(10 ** places[-1]) if ended else None
    learnt = rises[least] < -LEAST_FALL * start
    return Curve(
        rates=(10**places).tolist(),
        losses=(start + rises).tolist(),
        start=start,
        steepest=steepest,
        lowest=lowest,
        diverged=diverged,
        proposed=min(steepest, (diverged or math.inf) / MARGIN) if learnt else None,
    )


def smooth(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """The exponential moving average, corrected for its start at zero."""
    averages, average = [], 0.0
    for number, value in enumerate(values, start=1):
        average = SMOOTHING * average + (1 - SMOOTHING) * float(value)
        averages.append(average / (1 - SMOOTHING**number))
    return np.array(averages)
