"""Row 5 on the quickstart itself: its models, pictures, batches and threads, its features from its store."""

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.setting import Setting
from benchmarks.shapes import step
from benchmarks.table import Line, Target
from benchmarks.timing import Times, interleave, ratio
from dept_vl.cli.experiment import parse_run
from dept_vl.data.batches import Gather
from dept_vl.embedded.shapes import write_shapes
from dept_vl.run import build, resolve, start
from dept_vl.run.fitting import training_batches
from dept_vl.run.images import load_tower
from dept_vl.run.parts import Parts
from dept_vl.threads import take_fitting_threads
from dept_vl.untrusted.images import open_image

EXAMPLES, TURNS = 2048, 8  # questions, and batches before they come again


def quickstart_store(setting: Setting) -> tuple[list[Line], Times]:
    """The step fed by the store / by features in memory; and with tiny-clip in the step / fed by the store."""
    threads = torch.get_num_threads()
    try:
        with TemporaryDirectory() as place:
            return _measure(setting, Path(place))
    finally:
        torch.set_num_threads(threads)


def _measure(setting: Setting, place: Path) -> tuple[list[Line], Times]:
    flags = ["--output_dir", str(place / "run"), "--vision.feature_dir", str(place / "features"), "--progress", "false"]
    if setting.tiny:
        write_shapes(place / "shapes", sizes={"train": 8, "val": 2, "test": 2}, questions_per_image=4)
        flags += ["--task.root", str(place / "shapes"), "--per_device_train_batch_size", "4"]
    config = resolve(parse_run(flags, "vqa", __doc__, "benchmarks"))
    accelerator, splits = start(config), {"train": ("train", EXAMPLES)}
    parts = build(config, accelerator, splits)
    vision = dataclasses.replace(config.vision, resident=True)
    resident = build(dataclasses.replace(config, vision=vision), accelerator, splits).gather
    take_fitting_threads(parts.network, device=accelerator.device)
    tower, paths = load_tower(config).to(accelerator.device), parts.splits["train"].image_paths
    parts.network.train()
    runs = {
        "memory": [_feed(parts, None)],
        "mapped": [_feed(parts, parts.gather)],
        "resident": [_feed(parts, resident)],
        "CLIP": [
            _feed(parts, lambda keys: tower.grid(torch.stack([tower.preprocess(open_image(paths[k])) for k in keys])))
        ],
    }
    times = interleave(runs, seconds=setting.seconds, device=setting.device, least=setting.least)
    lines = [
        Line(
            f"quickstart's step from {name} store / features in memory",
            ratio(times[name], times["memory"]),
            Target("<=", 1.05),
        )
        for name in ("mapped", "resident")
    ]
    what = "quickstart's step with reading, decoding and tiny-clip / from mapped store"
    return [*lines, Line(what, ratio(times["CLIP"], times["mapped"]))], times


def _feed(parts: Parts, gather: Gather | None) -> Callable[[], None]:
    """A step that takes the next batch each time; without `gather` it finds the features in memory."""
    held, turns = training_batches(parts), itertools.cycle(range(TURNS))
    batches = training_batches(dataclasses.replace(parts, gather=gather))
    features = [held[turn].features for turn in range(TURNS)] if gather is None else []

    def run() -> None:
        turn = next(turns)
        batch = batches[turn]
        if gather is None:
            batch = dataclasses.replace(batch, features=features[turn])
        step(parts.network, batch.to(parts.accelerator.device))

    return run
