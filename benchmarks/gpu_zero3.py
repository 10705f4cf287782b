"""DeepSpeed ZeRO-3 with two processes on one card: the frozen model in parts trains what it trains whole.

Two processes of one card cannot speak through NCCL, so they speak through gloo. Each is this file, started by
accelerate with configs/accelerate/zero3.yaml; their weights after some steps are held against those of one process
without DeepSpeed, in float32.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from torch import Tensor

from benchmarks.lengths import encoded, vqa_lengths
from benchmarks.loop import RATES
from benchmarks.setting import Setting, make
from benchmarks.shapes import dept, t5_model
from benchmarks.table import Line, Target, exactly
from benchmarks.timing import Times
from dept_vl.backbones import load_backbone
from dept_vl.config import BackboneConfig, Experiment
from dept_vl.data.batches import TrainingBatches
from dept_vl.run.launcher import check_processes
from dept_vl.train import Plan, train
from dept_vl.train.optim import build_optimizer, build_schedule

REPOSITORY = Path(__file__).resolve().parent.parent
STEPS, ROWS = 3, 8


def zero3(setting: Setting, rate: float) -> tuple[list[Line], dict[str, Times]]:
    """The greatest difference of a trained weight / the greatest weight. `rate` is not needed here."""
    with TemporaryDirectory() as above:
        folder = Path(above)
        t5_model("tiny" if setting.tiny else "t5-base", setting).float().save_pretrained(folder / "t5")
        words = ["launch", "--config_file", str(REPOSITORY / "configs/accelerate/zero3.yaml"), "--num_processes", "2"]
        words += ["--main_process_port", "0"]  # any that is free
        place = {"DS_ACCELERATOR": "cpu"} if setting.device.type == "cpu" else {}
        child = ["-m", "benchmarks.gpu_zero3", str(folder), setting.device.type]
        found = subprocess.run(
            [sys.executable, "-m", "accelerate.commands.accelerate_cli", *words, *child],
            cwd=REPOSITORY, env={**os.environ, **place, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True, encoding="utf-8", check=False, timeout=150 if setting.device.type == "cuda" else 900,
        )  # fmt: skip
        if found.returncode:
            raise RuntimeError(
                f"ZeRO-3 with two processes ended with {found.returncode}: {found.stderr.strip()[-1500:]}"
            )
        parts = torch.load(folder / "parts.pt", weights_only=True)
        whole = _train(Accelerator(cpu=setting.device.type == "cpu"), folder, folder / "whole", setting)
    off = max(float((parts[name] - value).abs().max() / value.abs().max()) for name, value in whole.items())
    return [Line("ZeRO-3 with two processes, how far from one's weights", exactly(off), Target("<=", 1e-3), "")], {}


def _train(accelerator: Accelerator, folder: Path, output: Path, setting: Setting) -> Mapping[str, Tensor]:
    """The trained weights after STEPS steps, on the host."""
    network = dept(load_backbone(str(folder / "t5")), setting, 40)
    examples = encoded(vqa_lengths(STEPS * ROWS, setting.seed), setting.seed)
    world, rank = accelerator.num_processes, accelerator.process_index
    batches = TrainingBatches(examples, None, batch_size=ROWS, seed=setting.seed, rank=rank, world=world)
    optimizer = build_optimizer(network.param_groups(), RATES, weight_decay=0.0, betas=(0.9, 0.98), eps=1e-3)
    schedule = build_schedule(optimizer, name="linear", max_steps=STEPS, warmup_steps=0)
    output.mkdir(exist_ok=True)
    train(accelerator, network, optimizer, schedule, batches, Plan(max_steps=STEPS), output)
    return {name: value.detach().cpu() for name, value in network.trained_state().items()}


def main(folder: Path, device: str) -> None:
    """One of the processes."""
    os.environ["LOCAL_RANK"] = "0"  # both on the one card
    if device == "cpu":  # gloo's own communication does as well as what DeepSpeed would compile first
        from deepspeed import ops

        ops.__compatible_ops__["deepspeed_shm_comm"] = False
    setting = make(device, "float32", seed=0)
    accelerator = Accelerator(kwargs_handlers=[InitProcessGroupKwargs(backend="gloo")])
    backbone, rows = BackboneConfig(str(folder / "t5")), ROWS // accelerator.num_processes
    check_processes(Experiment(per_device_train_batch_size=rows, backbone=backbone), accelerator)
    held = _train(accelerator, folder, folder / "parts", setting)
    if accelerator.is_main_process:
        torch.save(dict(held), folder / "parts.pt")
    accelerator.end_training()
    os._exit(0)  # DeepSpeed keeps gloo's threads, over which the interpreter may abort while it ends


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
