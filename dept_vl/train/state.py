"""What changes in a run beside the weights: scores, the best step, checkpoints."""

import dataclasses
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch
from accelerate.utils import broadcast_object_list, gather_object

from dept_vl.registry import DeptVLWarning
from dept_vl.train.engine import Engine
from dept_vl.train.flops import FlopCounter
from dept_vl.train.learning import StillGroups, watch_score
from dept_vl.train.log import RunLog
from dept_vl.train.progressive import Progressive
from dept_vl.train.resumable import (
    BadCheckpoint,
    Compute,
    check_checkpoint,
    copy_checkpoint,
    find_checkpoints,
    load_checkpoint,
    remove,
    remove_older,
    rng_states,
    save_checkpoint,
    set_rng_states,
)

Scores = dict[str, int | float]
Evaluate = Callable[[], Scores]


class NonFiniteLoss(ValueError):
    """A loss or gradient that is not a number or infinite."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long and how often; all counts are optimizer steps, 0 is never."""

    max_steps: int
    max_seconds: float | None = None  # of training
    eval_steps: int = 0
    save_steps: int = 0
    logging_steps: int = 20
    save_total_limit: int = 2
    max_grad_norm: float | None = 1.0
    metric: str | None = None  # which of `evaluate`'s numbers selects the best checkpoint; greater is better
    num_workers: int = 0
    progress: bool = False
    compute: Compute | None = None  # recorded in every checkpoint, for a resumed run to take over


class RunState:
    """What changes while a run goes on, beside the weights."""

    def __init__(
        self,
        engine: Engine,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        plan: Plan,
        folder: Path,
        log: RunLog,
        settings: dict[str, Any],
        stages: Progressive | None = None,
    ) -> None:
        self.engine, self.accelerator, self.network = engine, engine.accelerator, engine.network
        self.schedule, self.plan, self.log = schedule, plan, log
        self.settings = settings  # what a resumed run must have in common with the one it goes on
        self.folder = folder / "checkpoints"
        self.groups = self.network.param_groups()
        self.evaluations: list[Scores] = []
        self.best: Scores | None = None
        self.still = StillGroups(self.groups)
        self.seconds, self.longest = 0.0, 0  # the second: text positions that any row has had
        self.place = 0  # progress in steps of max_steps; under max_seconds by time, if that is further
        self.stages = stages
        self.flops = FlopCounter(self.network)

    @property
    def ended(self) -> bool:
        return self.place >= self.plan.max_steps

    def advance(self, step: int) -> None:
        """Move the schedule on behind a step. With max_seconds every process goes by the main one's clock."""
        if self.plan.max_seconds is not None:
            [seconds] = broadcast_object_list([self.seconds])
            self.place = self._place(step, seconds)
            self.schedule.last_epoch = self.place - 1
        else:
            self.place = step
        self.schedule.step()

    def _place(self, step: int, seconds: float) -> int:
        share = seconds / self.plan.max_seconds if self.plan.max_seconds is not None else 0.0
        return min(max(step, int(share * self.plan.max_steps)), self.plan.max_steps)

    def note_start(self) -> None:
        """Keeps what a step changes before it can be refused: the random states."""
        self.before = rng_states()

    def observe(self, longest: int) -> None:
        """Tells the network how far a step that was taken has reached."""
        self.longest = max(self.longest, longest)
        self.network.observe(self.longest)

    def measure(self, loss: torch.Tensor) -> tuple[float, dict[str, float]]:
        """The loss averaged over the processes, and the gradient norm of each group before clipping. Whatever a step
        has to know of its numbers is read here, at once: each reading makes the host wait for the device."""
        loss = self.accelerator.reduce(loss, "mean")  # of all, so that all refuse the same step
        measured = [norm.to(loss) for norm in self.engine.norms()]
        mean, *values = torch.stack([loss, *measured]).tolist()
        return mean, dict(zip(self.groups, values, strict=True))

    def refuse_non_finite(self, step: int, loss: float, norms: dict[str, float]) -> None:
        bad = [name for name, norm in norms.items() if not math.isfinite(norm)]
        if math.isfinite(loss) and not bad:
            return
        self.save(step - 1, self.before)
        kept = self.folder / f"step_{step - 1}"
        raise NonFiniteLoss(
            f"step {step}: wanted a finite loss and finite gradients, given loss {loss} and non-finite "
            f"gradients in {', '.join(bad) or 'no group'}; the state after step {step - 1} is in {kept}. "
            "A new run with a lower learning rate of that group, or with max_grad_norm, is the usual cure"
        )

    def report(self, step: int, loss: float, norms: dict[str, float], rates: dict[str, float]) -> None:
        """Writes a log line, and warns of a group that does not learn."""
        found = self.network.diagnostics()
        more = {"diagnostics": found} if found else {}
        self.log.write(step, loss=loss, lr=rates, grad_norm=norms, seconds=round(self.seconds, 3), **more)
        self.still.watch(step, norms)

    def evaluate(self, step: int, evaluate: Evaluate) -> None:
        self.agree_on_length()
        self.network.eval()
        scores = evaluate()
        self.network.train()
        if not math.isfinite(scores[self.plan.metric]):
            raise NonFiniteLoss(f"step {step}: wanted a finite {self.plan.metric}, given {scores[self.plan.metric]}")
        self.evaluations.append({"step": step, **scores})
        flops = self.flops.total()
        self.log.write(step, evaluation=scores, **({"flops": flops[0]} if flops else {}))
        watch_score(step, self.plan.metric, [each[self.plan.metric] for each in self.evaluations])
        if self.best is None or scores[self.plan.metric] > self.best["value"]:
            self.best = {"step": step, "value": scores[self.plan.metric]}
            self.save(step)

    def save(self, step: int, rng: dict[str, Any] | None = None) -> None:
        self.agree_on_length()
        states, flops = gather_object([rng_states() if rng is None else rng]), self.flops.total()
        weights, optimizer = self.engine.trained_state(), self.engine.optimizer_state()
        failed = None
        if self.accelerator.is_main_process and not (self.folder / f"step_{step}").exists():
            try:
                self._write(step, weights, optimizer, states, flops)
            except OSError as error:
                failed = error
        [reason] = broadcast_object_list([failed and str(failed)])
        if reason is not None:  # all end, or the others would wait for the one that could not write
            raise failed or OSError(f"the main process: {reason}")

    def _write(
        self,
        step: int,
        weights: dict[str, torch.Tensor],
        optimizer: dict[str, Any],
        rng: list[dict[str, Any]],
        flops: tuple[int, int] | None,
    ) -> None:
        save_checkpoint(
            self.folder,
            step,
            weights=weights,
            optimizer=optimizer,
            schedule=self.schedule.state_dict(),
            progress={
                "best": self.best,
                "evaluations": self.evaluations,
                "still": self.still.counts,
                "seconds": self.seconds,
                "longest": self.longest,
                "parts": self.network.state(),
                "settings": self.settings,
                "compute": None if self.plan.compute is None else msgspec.to_builtins(self.plan.compute),
                "flops": list(flops) if flops else None,
            },
            stages=self.stages.state() if self.stages is not None else None,
            rng_states=rng,
        )
        spare = {self.folder / f"step_{self.best['step']}"} if self.best else set()
        remove_older(self.folder, self.plan.save_total_limit, spare)

    def resume(self, checkpoint: Path) -> int:
        """Puts everything back; returns the step to go on from."""
        weights, states, progress, rng = load_checkpoint(checkpoint, self.accelerator.process_index)
        step = progress["step"]
        if step > self.plan.max_steps:
            raise BadCheckpoint(
                f"{checkpoint}: wanted a checkpoint of at most {self.plan.max_steps} steps, given {step}"
            )
        try:
            self.network.load_trained_state(weights)
        except ValueError as error:
            raise BadCheckpoint(f"{checkpoint}: {error}") from error
        then, now = progress.get("settings") or {}, self.settings
        if differ := [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)]:
            wanted, given = ({name: each.get(name) for name in differ} for each in (now, then))
            raise BadCheckpoint(
                f"{checkpoint}: wanted a checkpoint of a run with {wanted}, given {given}: it would not be the same run"
            )
        try:
            self.engine.load_optimizer(states["optimizer"])
            self.schedule.load_state_dict(states["schedule"])
            for group, rate in zip(self.engine.optimizer.param_groups, self.schedule.lr_lambdas, strict=True):
                group["lr"] = group["initial_lr"] * rate(self.schedule.last_epoch)  # where max_steps is another now
            self.best, self.evaluations = progress["best"], progress["evaluations"]
            self.still.counts, self.seconds = progress["still"], progress["seconds"]
            self.longest = progress["longest"]
            self.network.load_state(progress["parts"])
            self.flops.resume(progress["flops"])
            if self.stages is not None:
                self.stages.load_state(states["stages"])
        except (KeyError, ValueError, TypeError) as error:
            raise BadCheckpoint(
                f"{checkpoint}: wanted the state of a run with these groups of weights ({error})"
            ) from error
        self.place = self._place(step, self.seconds)
        if rng is not None:
            set_rng_states(rng)
        elsewhere = checkpoint.resolve().parent != self.folder.resolve()
        if elsewhere and find_checkpoints(self.folder):
            raise BadCheckpoint(f"{self.folder}: wanted no checkpoints of another run beside {checkpoint}, given some")
        self.accelerator.wait_for_everyone()  # all have looked at the folder before anything in it changes
        if self.accelerator.is_main_process:
            self._take_over(checkpoint, step)
        self.accelerator.wait_for_everyone()
        return step

    def _take_over(self, checkpoint: Path, step: int) -> None:
        """Removes this folder's checkpoints beyond `step`, which belong to an abandoned course, and copies the best one
        where the run continues in another folder than it began."""
        for path in find_checkpoints(self.folder):
            if int(path.name.removeprefix("step_")) > step:
                remove(path)
        best = self.folder / f"step_{self.best['step']}" if self.best else None
        if best and not best.exists():
            source = checkpoint.parent / best.name
            if not source.is_dir():
                raise BadCheckpoint(f"{checkpoint}: wanted the run's best checkpoint {best.name} beside it, given none")
            copy_checkpoint(source, self.folder)

    def load_best(self, step: int, last: int) -> None:
        try:
            weights, _, progress, _ = load_checkpoint(self.folder / f"step_{step}")
        except BadCheckpoint as error:
            raise BadCheckpoint(
                f"the run's best weights, those after step {step}, are lost: {error}. Its last ones are in "
                f"{self.folder / f'step_{last}'}; to have the best again, resume from a checkpoint "
                f"before step {step}, or train anew"
            ) from error
        self.engine.load_trained_state(weights)
        self.network.load_state(progress["parts"])

    def rates(self) -> dict[str, float]:
        """The learning rate of each group in the step to come."""
        return {group["name"]: group["lr"] for group in self.engine.optimizer.param_groups}

    def agree_on_length(self) -> None:
        """Each process saw its own rows; what any of them trained is trained in all."""
        self.longest = max(gather_object([self.longest]))
        if self.longest:
            self.network.observe(self.longest)


def newest_checkpoint(folder: Path) -> Path:
    """The last checkpoint of a run folder that is whole, as is the best one that it names; warns of newer ones that are
    damaged. Every process of a run comes to the same one. Raises: BadCheckpoint when there is none."""
    folder = folder / "checkpoints"
    damaged: list[str] = []
    for checkpoint in reversed(find_checkpoints(folder)):
        try:
            check_checkpoint(checkpoint)
        except (BadCheckpoint, OSError) as error:  # the second from a disk that is failing
            damaged.append(f"{checkpoint.name} ({error})")
            continue
        if damaged:
            warnings.warn(
                f"{folder}: resuming from {checkpoint.name}, not from {', '.join(damaged)}", DeptVLWarning, stacklevel=2
            )
        return checkpoint
    given = f"only damaged ones: {', '.join(damaged)}" if damaged else "none"
    raise BadCheckpoint(
        f"{folder}: wanted a checkpoint to resume from, given {given}; set --output_dir to the run that should go on, "
        "or leave --resume_from_checkpoint out"
    )
