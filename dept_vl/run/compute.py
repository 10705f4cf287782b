"""How a run computes: CPU threads and number format, chosen by the model where the config leaves them open.

Both decide how sums are rounded, so a choice is recorded: in every checkpoint, from which a resumed run takes it over,
and in config.yaml, from which a repeat does. `fit` and results.json ask for it.
"""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch.utils.data import Dataset

from dept_vl.backbones import Backbone
from dept_vl.config import BadConfig, Experiment
from dept_vl.model import Batch, Network
from dept_vl.run.components import resume_point
from dept_vl.run.measure import count_weights
from dept_vl.threads import SMALL, fitting_threads
from dept_vl.train.resumable import Compute, read_compute, rng_states, set_rng_states

FASTER = 1.15  # how many times as fast a step in bfloat16 must be, to be taken
ROUNDS, SECONDS = 3, 10.0  # of measuring: so many rounds, none that would begin after so many seconds
_SIDE = 512  # of the matrices on which the processor is tried


Batches = Callable[[], Dataset[Batch]]
"""Makes the training batches, the first of which is measured."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """why: a sentence. seconds: of a training step, by number format, where they were measured."""

    compute: Compute
    why: str
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {"bf16": self.compute.bf16, "threads": self.compute.threads, "why": self.why, "seconds": self.seconds}

    def lines(self) -> list[str]:
        """What to tell: a choice that was measured, for another run may choose otherwise."""
        return [f"computes in {self.why}"] if self.seconds else []

    def recorded(self, config: Experiment) -> Experiment:
        """The config of a run that computes so without choosing."""
        return dataclasses.replace(config, bf16=self.compute.bf16, num_threads=self.compute.threads)


def settle(config: Experiment, accelerator: Accelerator, network: Network, batches: Batches) -> Choice:
    """Choose, and set this process and its accelerator accordingly; every process of a run comes to the same choice.

    Raises: BadConfig for a checkpoint of a run in bfloat16 that this one cannot follow; BadCheckpoint.
    """
    point = resume_point(config)
    recorded = None if point is None else read_compute(point)
    able = _able(config, accelerator)
    [choice] = broadcast_object_list([choose(config, network, batches, recorded, accelerator.device, able=able)])
    torch.set_num_threads(choice.compute.threads)
    accelerator.autocast_handler.enabled = choice.compute.bf16
    return choice


def choose(
    config: Experiment,
    network: Network,
    batches: Batches,
    recorded: Compute | None,
    device: torch.device,
    *,
    able: bool,
) -> Choice:
    """What the config asks for, else what is recorded, else what the model's size or a measurement tells. From here on
    the threads of this process are those chosen. able: whether accelerate can follow a choice of bfloat16.

    Raises: BadConfig.
    """
    weights = count_weights(network)["total"]
    threads = config.num_threads or (recorded.threads if recorded else fitting_threads(weights, device))
    torch.set_num_threads(threads)
    if config.bf16 != "auto":
        return Choice(Compute(config.bf16, threads), "as the config says")
    if recorded is not None:
        if recorded.bf16 and not able:
            raise BadConfig("bf16: the run that goes on computed in bfloat16; wanted --bf16 true here, given auto")
        return Choice(Compute(recorded.bf16, threads), "as the run began")
    if not config.max_steps:
        why = "float32: nothing trains, so that no step can be timed"
    elif not able:
        why = "float32: for this device, launch or backbone bfloat16 is never chosen, only asked for"
    elif weights < SMALL:  # autocast would convert longer than it saves
        why = f"float32: the model has fewer than {SMALL:,} weights"
    elif device.type == "cpu" and not multiplies_faster():
        why = "float32: this processor multiplies matrices of bfloat16 no faster"
    else:
        return _measured(network, batches()[0], device, threads)
    return Choice(Compute(False, threads), why)


def settle_attention(config: Experiment, accelerator: Accelerator, backbone: Backbone) -> Experiment:
    """Attention without torch's fused kernel for a run that trains on a CPU and may compute in bfloat16, where nobody
    asked for either: the kernel's backward pass takes a quarter to a third of such a step. The backbone does so from
    here on, and the config says it. In float32 both take the same time, but for the memory of long rows."""
    unasked = config.max_steps > 0 and config.backbone.attn_implementation is None and config.bf16 is not False
    weights = sum(each.numel() for each in backbone.parameters())
    able = config.bf16 is True or (unasked and _able(config, accelerator) and weights >= SMALL)
    eager = unasked and accelerator.device.type == "cpu" and able and (config.bf16 is True or multiplies_faster())
    [eager] = broadcast_object_list([eager])
    if not eager or not backbone.attend_eagerly():
        return config
    return dataclasses.replace(config, backbone=dataclasses.replace(config.backbone, attn_implementation="eager"))


def _able(config: Experiment, accelerator: Accelerator) -> bool:
    """Whether accelerate can follow a choice of bfloat16."""
    weights = config.backbone.dtype, config.backbone.load_in
    return accelerator.mixed_precision == "bf16" and weights == ("float32", None)


def _measured(network: Network, batch: Batch, device: torch.device, threads: int) -> Choice:
    seconds = measure_steps(network, batch, device)
    bf16 = seconds.get("float32", math.inf) >= FASTER * seconds.get("bfloat16", math.inf)
    name, other = ("bfloat16", "float32") if bf16 else ("float32", "bfloat16")
    shown = " and ".join(f"{each:.3g} s in {name}" for name, each in seconds.items())
    shown += "" if other in seconds else f", and more memory than there is in {other},"
    why = f"{name}: a step took {shown} when the run started (--bf16 true or false asks for one)"
    return Choice(Compute(bf16, threads), why, seconds)


def measure_steps(network: Network, batch: Batch, device: torch.device) -> dict[str, float]:
    """Median seconds of a training step in float32 and under bfloat16, turn by turn behind one of each that is not
    counted; without one whose step has no room. Weights, gradients and random states are afterwards as before.
    """
    training, before = network.training, rng_states()
    batch = batch.to(device)
    seconds: dict[str, list[float]] = {"float32": [], "bfloat16": []}
    network.train()
    began = time.perf_counter()
    for turn in range(ROUNDS + 1):
        for name, taken in list(seconds.items()):
            try:
                taken.append(_timed(lambda name=name: _step(network, batch, name == "bfloat16"), device.type))
            except torch.OutOfMemoryError:
                if len(seconds) == 1:
                    raise
                del seconds[name]
                network.zero_grad(set_to_none=True)
        if turn and time.perf_counter() - began > SECONDS:
            break
    network.zero_grad(set_to_none=True)
    network.train(training)
    set_rng_states(before)
    return {name: statistics.median(taken[1:]) for name, taken in seconds.items()}


def _step(network: Network, batch: Batch, bf16: bool) -> None:
    with torch.autocast(batch.input_ids.device.type, torch.bfloat16, enabled=bf16):
        loss = network(batch).mean()
    loss.backward()


def multiplies_faster() -> bool:
    """Whether the processor has instructions for bfloat16 at all: torch emulates what it lacks, and one step of a large
    model would then take minutes."""
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        matrix = torch.ones(_SIDE, _SIDE, dtype=dtype)
        matrix @ matrix
        seconds[dtype] = min(_timed(lambda matrix=matrix: matrix @ matrix) for _ in range(5))
    return seconds[torch.bfloat16] < seconds[torch.float32]


def _timed(run: Callable[[], object], device: str = "cpu") -> float:
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    started = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - started
