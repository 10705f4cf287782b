"""One of the processes of tests/test_sharded_full.py: all weights train, the model's blocks in parts."""

import os
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from dept_vl.config import BackboneConfig, Experiment
from dept_vl.model import Network
from dept_vl.run import start
from tests.sharded_processes import spare_the_compiler
from tests.tiny_runs import RATES, build_network, fit_toy
from tests.tiny_tunings import attached

STEPS, EVERY = 8, 4


def work(t5: Path, folder: Path, accelerator: Accelerator, checkpoint: Path | None = None) -> dict[str, Tensor]:
    """What the network ends with: its weights after step 4, which scored better than those after step 8."""
    network = build_network(t5)
    network = Network(network.backbone, {**network.parts, "inside": attached("full", network.backbone)})
    scores = iter([0.1] if checkpoint else [0.2, 0.1])
    trained = fit_toy(
        network, t5, folder, steps=STEPS, batch_size=8, eps=1e-3, rates={**RATES, "full": 0.01}, eval_steps=EVERY,
        accelerator=accelerator, evaluate=lambda: {"accuracy": next(scores)}, resume_from=checkpoint,
    )  # fmt: skip
    assert trained.best_step == EVERY
    state = network.trained_state() | trained.joined_parts
    return {name: value.detach().cpu().clone() for name, value in state.items()}


def main(t5: Path, folder: Path, checkpoint: Path | None = None) -> None:
    spare_the_compiler()
    accelerator = start(
        Experiment(
            output_dir=str(folder), per_device_train_batch_size=4, num_threads=1, backbone=BackboneConfig(str(t5))
        )
    )
    if plugin := accelerator.deepspeed_plugin:  # small weights are kept whole for speed, and here all are small
        plugin.deepspeed_config["zero_optimization"]["stage3_param_persistence_threshold"] = 0
    held = work(t5, folder, accelerator, checkpoint)
    if accelerator.is_main_process:
        torch.save(held, folder / "held.pt")
    os._exit(0)  # as sharded_processes
