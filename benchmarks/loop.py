"""Row 4: the whole training loop against its bare steps, on the same batches."""

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from accelerate import Accelerator

from benchmarks.lengths import FOUR_SETS, encoded, glue_lengths
from benchmarks.setting import Setting
from benchmarks.shapes import dept, step, t5
from benchmarks.table import Line, Measured, Target
from benchmarks.timing import interleave, ratio
from dept_vl.data.batches import TrainingBatches
from dept_vl.model import Network
from dept_vl.train import Plan, train
from dept_vl.train.optim import build_optimizer, build_schedule

STEPS, ROWS = 30, 8
RATES = {"prompt": 0.3, "low_rank": 5e-4, "projection": 1e-3}


def loop(setting: Setting) -> Measured:
    """`dept_vl.train.train` for STEPS steps, with collating, norms, clipping, AdamW, the schedule, a log line every 20
    steps and the last step's checkpoint / the bare forward and backward pass of the same batches, ready in memory."""
    steps = 2 if setting.tiny else STEPS
    network = dept(t5(setting.t5, setting), setting, 40)
    batches = training_batches(setting, ROWS, steps * ROWS)
    ready = [batches[number].to(setting.device) for number in range(steps)]
    with TemporaryDirectory() as folder:
        places = (Path(folder) / str(number) for number in itertools.count())
        runs = {
            "loop": [lambda: _whole(setting, network, batches, steps, places)],
            "bare": [lambda: [step(network, batch) for batch in ready]],
        }
        times = interleave(runs, seconds=setting.seconds, device=setting.device, least=setting.least)
    line = Line(f"{steps} steps of DePT m=40, loop / bare", ratio(times["loop"], times["bare"]), Target("<=", 1.05))
    return Measured([line], {"loop": times}, {"shape": setting.t5, "rows": ROWS})


def training_batches(setting: Setting, rows: int, number: int) -> TrainingBatches:
    """Batches of `rows` over `number` examples of GLUE's lengths, four sets in equal shares."""
    share = -(-number // len(FOUR_SETS))
    lengths = [length for name in FOUR_SETS for length in glue_lengths(name, share, setting.seed, setting.lengths)]
    return TrainingBatches(encoded(lengths, setting.seed), None, batch_size=rows, seed=setting.seed)


def run_loop(
    setting: Setting, network: Network, batches: TrainingBatches, steps: int, folder: Path
) -> torch.optim.Optimizer:
    """One run of the training loop into `folder`; returns its optimizer."""
    optimizer = build_optimizer(network.param_groups(), RATES, weight_decay=0.01, betas=(0.9, 0.98), eps=1e-6)
    schedule = build_schedule(optimizer, name="linear", max_steps=steps, warmup_steps=0)
    folder.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(cpu=setting.device.type == "cpu")
    train(accelerator, network, optimizer, schedule, batches, Plan(max_steps=steps), folder)
    network.train()
    return optimizer


def _whole(setting: Setting, network: Network, batches: TrainingBatches, steps: int, places: Iterator[Path]) -> None:
    folder = next(places)
    run_loop(setting, network, batches, steps, folder)
    shutil.rmtree(folder)
