"""Row 12: what a run with `bf16: auto` chooses, what it gains by that and what choosing costs.

Models have the real shapes and random weights; the choice is made by the run's own code. Scores in both formats are a
plan's: configs/plans/bf16.yaml.
"""

import time

import torch

from benchmarks.loop import training_batches
from benchmarks.setting import Setting
from benchmarks.shapes import dept, t5
from benchmarks.table import Line, Measured, Target, exactly
from benchmarks.timing import Times, interleave, ratio
from dept_vl.backbones import load_backbone
from dept_vl.config import Experiment
from dept_vl.model import Network
from dept_vl.run.compute import choose

ROWS = 32


def precision(setting: Setting) -> Measured:
    """A step in float32 and one in bfloat16 / a step as chosen, and what choosing took: of the T5 that the quickstart
    trains beside and of T5-small's shape."""
    lines, seconds, facts = [], {}, {}
    models = {"tiny-t5": load_backbone("tiny-t5").to(setting.device), "t5-small": t5(setting.t5, setting)}
    for name, backbone in models.items():
        network = dept(backbone, setting, 40)
        rows, times = _one(setting, name, network)
        seconds[name] = times
        lines += rows
    return Measured(lines, seconds, facts | {"rows": ROWS})


def _one(setting: Setting, name: str, network: Network) -> tuple[list[Line], Times]:
    if setting.device.type == "cpu" and name != "tiny-t5":  # as a run that may take bfloat16 does
        network.backbone.attend_eagerly()
    batches = training_batches(setting, 4 if setting.tiny else ROWS, 8 * ROWS)
    began, threads = time.perf_counter(), torch.get_num_threads()
    choice = choose(Experiment(), network, lambda: batches, None, setting.device, able=True)
    cost = time.perf_counter() - began
    torch.set_num_threads(threads)  # both formats with the same
    batch = batches[0].to(setting.device)

    def run(bf16: bool) -> None:
        with torch.autocast(setting.device.type, torch.bfloat16, enabled=bf16):
            loss = network(batch).mean()
        loss.backward()
        network.zero_grad(set_to_none=True)

    runs = {"float32": [lambda: run(False)], "bfloat16": [lambda: run(True)]}
    times = interleave(runs, seconds=setting.seconds / 2, device=setting.device, least=setting.least)
    chosen = "bfloat16" if choice.compute.bf16 else "float32"
    lines = [
        Line(
            f"{name}, step in float32 / as chosen ({chosen})", ratio(times["float32"], times[chosen]), Target(">=", 1.0)
        ),
        Line(
            f"{name}, step in bfloat16 / as chosen ({chosen})",
            ratio(times["bfloat16"], times[chosen]),
            Target(">=", 0.97),
        ),
        Line(f"{name}, step in float32 / in bfloat16", ratio(times["float32"], times["bfloat16"])),
        Line(f"{name}, seconds of choosing", exactly(cost), Target("<=", 20.0), "s"),
    ]
    return lines, times
