"""One large run as a process of its own: what its start-up and its steps take, in seconds and bytes.

    python -m tests.load.measure FOLDER --questions 1000000 --images 120000 --steps 10000    # prints JSON

The first command in a FOLDER writes the data, the models and the feature store there; each later one finds them.
"""

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from dept_vl.cli.output import clean_stdout
from dept_vl.config import AdapterConfig, BackboneConfig, Experiment, OptimConfig, TaskConfig, VisionConfig
from dept_vl.data.data_root import locate_images
from dept_vl.data.tokenizer import load_tokenizer
from dept_vl.run import build, check, fit, resolve, start
from dept_vl.run.images import load_tower
from dept_vl.train import RunLog
from tests.load.world import write_store, write_world
from tests.tiny_models import write_tiny_clip
from tests.tiny_runs import RATES, write_byte_t5

SPLITS = {"train": ("train", None), "eval": ("val", None), "test": ("test", None)}


def anonymous() -> int:
    """RssAnon: bytes of this process that no file stands behind."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("RssAnon:")))


def peak() -> int:
    """VmHWM: the most bytes in memory at once so far, mapped files included."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM:")))


def prepare(folder: Path, *, images: int, questions: int, clip: str, tokenizer: Path | None) -> None:
    """The data, a T5 of a few thousand weights, a CLIP, and the features of all images."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe = {"questions": questions, "images": images, "clip": clip, "tokenizer": str(tokenizer)}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    write_world(folder / "data", images=images, questions=questions)
    write_byte_t5(folder / "t5")
    if clip == "tiny":
        write_tiny_clip(folder / "clip")
    else:
        _write_random_clip(folder / "clip", clip)
    if tokenizer is not None:
        _take_tokenizer(folder / "t5", tokenizer)
    config = experiment(folder)
    paths = locate_images(folder / "data", (path.name for path in (folder / "data").glob("*/*.jpg")))
    write_store(load_tower(config), paths, Path(config.vision.feature_dir))


def experiment(folder: Path, *, steps: int = 1, batch_size: int = 4, log: int = 100) -> Experiment:
    """DePT and the projection; features are read from the store's files, not held in memory."""
    recipe = json.loads((folder / "recipe.json").read_text())
    vision = {"layer": 3} if recipe["clip"] == "tiny" else {"layer": 4, "pooling": "max", "pool_size": 6}
    return Experiment(
        output_dir=str(folder / "run"),
        seed=3,
        max_steps=steps,
        per_device_train_batch_size=batch_size,
        logging_steps=log,
        eval_steps=0,
        save_steps=max(1, steps // 4),
        num_threads=1,
        progress=False,
        adapter=AdapterConfig("dept", {"num_virtual_tokens": 3, "r": 2, "max_length": 16}),
        backbone=BackboneConfig(str(folder / "t5"), dropout=True),
        vision=VisionConfig(
            f"local-dir:{folder / 'clip'}", feature_dir=str(folder / "features"), resident=False, **vision
        ),
        task=TaskConfig(name="vqa", root=str(folder / "data")),
        optim=OptimConfig(lr=RATES),
    )


def measure(folder: Path, *, steps: int, batch_size: int, log: int) -> dict[str, Any]:
    """Seconds of each stage of the start-up, bytes after it, and anonymous bytes at every `log` steps."""
    config = experiment(folder, steps=steps, batch_size=batch_size, log=log)
    check(config)
    config = resolve(config)
    accelerator = start(config)
    before, clock, work = anonymous(), time.perf_counter(), time.process_time()
    parts = build(config, accelerator, SPLITS)
    found: dict[str, Any] = {
        "startup_seconds": round(time.perf_counter() - clock, 2),
        "startup_cpu_seconds": round(time.process_time() - work, 2),
        "stages": parts.seconds,
        "counts": {role: each.counts for role, each in parts.splits.items()},
        "bytes_before": before,
        "bytes_after": anonymous(),
        "peak_bytes": peak(),
    }
    print(json.dumps(found), file=sys.stderr, flush=True)
    samples: dict[int, int] = {}
    write = RunLog.write

    def note(log: RunLog, step: int, **values: Any) -> None:
        samples[step] = anonymous()
        write(log, step, **values)

    (folder / "run").mkdir(exist_ok=True)
    with mock.patch.object(RunLog, "write", note):
        trained = fit(parts, folder / "run")
    return found | {"train_seconds": round(trained.train_seconds, 1), "bytes_at_step": samples}


def measure_alone(folder: Path, found: Path, **sizes: int) -> None:
    """`measure`, on the CPU, in a process of its own, into the file `found`."""
    os.environ |= {"ACCELERATE_USE_CPU": "true", "DEPT_VL_CACHE": str(folder / "cache")}
    found.write_text(json.dumps(measure(folder, **sizes)))


def _take_tokenizer(t5: Path, tokenizer: Path) -> None:
    """Gives the T5 another tokenizer, and the rows of its table that this needs."""
    from transformers import T5ForConditionalGeneration

    for path in t5.glob("*token*"):
        path.unlink()
    for path in tokenizer.iterdir():
        (t5 / path.name).write_bytes(path.read_bytes())
    tokens = max(load_tokenizer(str(t5)).get_vocab().values()) + 1
    model = T5ForConditionalGeneration.from_pretrained(t5)
    model.resize_token_embeddings(tokens)
    model.save_pretrained(t5)


def _write_random_clip(folder: Path, name: str) -> None:
    """An open_clip model of real shape, untrained."""
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    model = open_clip.create_model(name)
    config = {"model_cfg": open_clip.get_model_config(name), "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")


def main() -> Mapping[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--questions", type=int, default=1_000_000)
    parser.add_argument("--images", type=int, default=120_000)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--log", type=int, default=100, help="steps between two samples of the memory")
    parser.add_argument("--clip", default="tiny", help="tiny, or an open_clip name such as RN101, untrained")
    parser.add_argument("--tokenizer", type=Path, help="folder of a tokenizer in place of the byte-level one")
    given = parser.parse_args()
    sizes = {name: vars(given)[name] for name in ("questions", "images", "clip", "tokenizer")}
    kept = given.folder / "recipe.json"
    if not (given.folder / "features").exists():  # in a process of its own, whose memory goes with it
        child = multiprocessing.get_context("spawn").Process(target=prepare, args=(given.folder,), kwargs=sizes)
        child.start()
        child.join()
        if child.exitcode:
            raise SystemExit(child.exitcode)
    elif json.loads(kept.read_text()) != sizes | {"tokenizer": str(given.tokenizer)}:
        raise SystemExit(f"{given.folder}: wanted {sizes}, given {kept.read_text()}: name another folder")
    return measure(given.folder, steps=given.steps, batch_size=given.batch_size, log=given.log)


if __name__ == "__main__":
    with clean_stdout() as stdout:  # which others log to
        stdout.write(json.dumps(main()) + "\n")
