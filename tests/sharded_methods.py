"""One of the processes of tests/test_sharded_methods.py: trains every method for a few steps under what accelerate was
launched with, one after the other, then a mixture where asked, and writes what it holds."""

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import torch
from accelerate import Accelerator
from torch import Tensor

from dept_vl.adapters import ADAPTERS
from dept_vl.config import BackboneConfig, Experiment
from dept_vl.model import Network
from dept_vl.run import start
from dept_vl.run.execute import run
from dept_vl.tuning import TUNINGS
from tests import tiny_tunings
from tests.sharded_processes import kept_here, spare_the_compiler
from tests.tiny_runs import RATES, build_network, fit_toy
from tests.tiny_tunings import attached

STEPS = 2
RATES = {**RATES, "bottleneck": 0.01, "router": 0.05, "attention": 0.05, "task": 0.05, **tiny_tunings.RATES}
EVERY = (*(f"adapter {name}" for name in ADAPTERS), *(f"inside {name}" for name in TUNINGS))
ADAFACTOR = "adafactor adapter"
WITHOUT_DROPOUT = {  # which each process would draw for itself
    "lora": {"lora_dropout": 0.0},
    "prefix": {"prefix_dropout": 0.0},
    "p_tuning_v2": {"prefix_dropout": 0.0},
}


def work(t5: Path, folder: Path, accelerator: Accelerator, names: Sequence[str]) -> dict[str, dict[str, Tensor]]:
    """By method: the weights that this process holds at the end, and under "share" how much of the frozen model lies
    here. Every network has a projection that trains too."""
    held = {}
    plugin = accelerator.deepspeed_plugin
    settings = copy.deepcopy(plugin.deepspeed_config) if plugin else None
    for name in names:
        kind, method = name.split(" ")
        if plugin:
            plugin.deepspeed_config.update(copy.deepcopy(settings))
        network = build_network(t5, method if kind == "adapter" else "dept")
        if kind != "adapter":
            tuning = attached(method, network.backbone, **WITHOUT_DROPOUT.get(method, {}))
            network = Network(network.backbone, {**network.parts, "inside": tuning})
        optimizer = "adafactor" if name == ADAFACTOR else "adamw"
        with patch("torch.randn_like", torch.zeros_like):  # of SMoP's router, which each process would draw too
            trained = fit_toy(
                network, t5, folder / name.replace(" ", "_"), steps=STEPS, batch_size=8, eps=1e-3, rates=RATES,
                accelerator=accelerator, optimizer=optimizer,
            )  # fmt: skip
        state = network.trained_state() | trained.joined_parts  # the second is empty beside the main process
        held[name] = {weight: value.detach().cpu().clone() for weight, value in state.items()}
        frozen = [each for each in network.backbone.parameters() if not each.requires_grad]
        frozen = frozen or list(network.backbone.parameters())  # under `full` they train, and lie in parts too
        sizes = [getattr(each, "ds_numel", each.numel()) for each in frozen]
        held[name]["share"] = torch.tensor(sum(map(kept_here, frozen)) / max(sum(sizes), 1))
    return held


def main(t5: Path, folder: Path, names: Sequence[str], mixture: Experiment | None = None) -> None:
    config = Experiment(
        output_dir=str(folder), per_device_train_batch_size=4, num_threads=1, backbone=BackboneConfig(str(t5))
    )
    spare_the_compiler()
    accelerator = start(config)
    if plugin := accelerator.deepspeed_plugin:  # small weights are kept whole for speed, and here all are small
        plugin.deepspeed_config["zero_optimization"]["stage3_param_persistence_threshold"] = 0
    torch.save(work(t5, folder, accelerator, names), folder / f"rank_{accelerator.process_index}.pt")
    if mixture is not None:
        run(mixture)
    os._exit(0)  # as sharded_processes
