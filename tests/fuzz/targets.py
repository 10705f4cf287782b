"""A good file of every kind that may come from a stranger, what reads it, and the errors that its reader documents."""

import dataclasses
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from dept_vl.adapters import build_adapter
from dept_vl.config import BadConfig, Experiment, load_experiment, parse_experiment
from dept_vl.data.coco import read_captions
from dept_vl.data.data_root import BadFile, MissingFile, MissingImages
from dept_vl.data.sources import EmptySplit, load_aokvqa, load_caption, load_vqa
from dept_vl.data.text_files import read_rows
from dept_vl.data.text_sources import load_text
from dept_vl.data.text_splits import BadSplit
from dept_vl.metrics import MissingPrediction, score_vqa_files
from dept_vl.plans.load import load_plan
from dept_vl.plans.settings import BadPlan
from dept_vl.registry import UnknownName
from dept_vl.saved import BadAdapterFolder, ModelFacts, read_any, save_adapter
from dept_vl.tasks import TASKS
from dept_vl.tasks.caption import CaptionTask
from dept_vl.tasks.text_task import BadRow
from dept_vl.tasks.vqa import VqaTask
from dept_vl.train.resumable import BadCheckpoint, load_checkpoint, rng_states, save_checkpoint
from dept_vl.tuning import build_tuning
from dept_vl.untrusted.images import UnreadableImage, open_image
from dept_vl.untrusted.network_files import read_network_weights
from dept_vl.vision import FrozenClip, VisualProjection
from dept_vl.vision.features import FeatureStore, MissingFeatures
from dept_vl.vision.shards import DESCRIPTION, DamagedStore
from dept_vl.vision.store import extract
from tests.data.conftest import ANNOTATIONS, QUESTIONS, Root
from tests.saved.conftest import ARGUMENTS, BACKBONE, D_MODEL, PATCHES, TASK, VISION, WIDTH
from tests.tiny_runs import write_cola

IMAGES = ("png", "jpg", "webp", "gif", "bmp", "tiff", "ppm", "jp2")
CONFIG = "max_steps: 10\nadapter:\n  name: dept\n  args: {r: 4}\noptim:\n  lr: {prompt: 0.3, low_rank: 5.0e-4}\n"
KINDS = (
    "adapter card", "adapter config", "adapter weights", "released config", "released weights, pickled",
    "peft lora config", "peft lora weights", "peft prefix config", "peft prefix weights",
    "store description", "store shard", "tower weights, legacy", "tower weights, zip",
    "questions", "annotations", "karpathy", "karpathy captions", "captions", "captions, gzip", "aokvqa",
    "csv rows", "json rows", "parquet rows", "cola rows",
    "boolq rows", "config", "run config", "plan", "table row", *(f"image, {ending}" for ending in IMAGES),
    "scored results", "scored asked", "scored answered", "checkpoint progress.json",
    "checkpoint adapter_model.safetensors", "checkpoint optimizer.pt", "checkpoint rng_0.pt",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Target:
    """A good file, and what reads it."""

    file: Path
    read: Callable[[], object]
    errors: tuple[type[BaseException], ...]


def make_targets(folder: Path, place: Path) -> dict[str, Target]:
    """Good files of every kind in `folder`, with the images and the CLIP of `place`."""
    parts = (adapters(folder), features(place, folder), annotations(folder), text(folder), yaml_files(folder))
    return {name: target for part in (*parts, others(folder)) for name, target in part.items()}


def adapters(folder: Path) -> dict[str, Target]:
    facts = ModelFacts("dept", dataset="VQA v2", split="test", metrics={"vqa_accuracy": 0.5}, protocol="p", training={})
    built = build_adapter("dept", torch.zeros(3, D_MODEL), ARGUMENTS["dept"], torch.Generator())
    inside = build_tuning("lora", {"r": 2, "target_modules": ["q"]})
    inside.token_dim = D_MODEL
    inside.hold({"weights.encoder.q.lora_A.weight": torch.zeros(2, D_MODEL)})
    parts = {
        "adapter": built,
        "projection": VisualProjection(WIDTH, D_MODEL, PATCHES, torch.Generator()),
        "inside": inside,
    }
    save_adapter(folder / "own", parts, backbone_identity=BACKBONE, vision_identity=VISION, task=TASK, card=facts)
    released = folder / "released"
    released.mkdir()
    (released / "adapter_config.json").write_text(json.dumps({
        "peft_type": "PROMPT_TUNING_LORA", "num_virtual_tokens": 3, "token_dim": 8, "r": 2, "max_length": 7,
    }))  # fmt: skip
    shapes = {"prompt_embeddings": (3, 8), "prompt_encoder.lora_embedding_A": (7, 2),
              "prompt_encoder.lora_embedding_B": (2, 8)}  # fmt: skip
    torch.save({name: torch.zeros(shape) for name, shape in shapes.items()}, released / "adapter_model.bin")
    prefix = folder / "prefix"
    prefix.mkdir()
    (prefix / "adapter_config.json").write_text(json.dumps({
        "peft_type": "PREFIX_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": 3, "num_layers": 2,
        "num_attention_heads": 2, "token_dim": 4,
    }))  # fmt: skip
    save_file({"prompt_embeddings": torch.zeros(3, 16)}, prefix / "adapter_model.safetensors")
    files = {
        "peft lora config": folder / "own" / "peft" / "adapter_config.json",
        "peft lora weights": folder / "own" / "peft" / "adapter_model.safetensors",
        "peft prefix config": prefix / "adapter_config.json",
        "peft prefix weights": prefix / "adapter_model.safetensors",
        "adapter card": folder / "own" / "README.md",
        "adapter config": folder / "own" / "adapter_config.json",
        "adapter weights": folder / "own" / "adapter_model.safetensors",
        "released config": released / "adapter_config.json",
        "released weights, pickled": released / "adapter_model.bin",
    }
    return {
        name: Target(file, lambda file=file: read_any(file.parent), (BadAdapterFolder,)) for name, file in files.items()
    }


def features(place: Path, folder: Path) -> dict[str, Target]:
    images = {path.name: path for path in sorted(place.rglob("*.jpg"))[:6]}
    clip = FrozenClip.load(f"local-dir:{place / 'clip'}", layer=3, pooling="none", resize="squash")
    store = extract(clip, images, folder / "features", shard_size=4)

    def read() -> None:
        opened = FeatureStore.open(store.folder)
        opened.gather(list(opened.keys)[:2])
        opened.resident()

    files = {"store description": store.folder / DESCRIPTION, "store shard": next(store.folder.glob("*.safetensors"))}
    weights = {"net.weight": torch.randn(4, 3), "net.bias": torch.randn(4), "net.batches": torch.tensor(3)}
    towers = {f"tower weights, {form}": folder / f"{form}.pth" for form in ("legacy", "zip")}
    for form, file in towers.items():
        torch.save(weights, file, _use_new_zipfile_serialization="zip" in form)
    return {name: Target(file, read, (DamagedStore, MissingFeatures)) for name, file in files.items()} | {
        name: Target(file, lambda file=file: read_network_weights(file), (BadFile,)) for name, file in towers.items()
    }


def annotations(folder: Path) -> dict[str, Target]:
    root = Root(folder / "coco")
    root.write()
    vqa, caption = VqaTask(), CaptionTask()
    aokvqa = {"image_id": 1, "question_id": "abc", "question": "Who?", "direct_answers": ["me"] * 10}
    (root.folder / "aokvqa_v1p0_train.json").write_text(json.dumps([aokvqa]))
    (root.folder / "packed").mkdir()
    packed = root.folder / "packed" / "captions.json.gz"
    packed.write_bytes(gzip.compress((root.folder / "captions.json").read_bytes(), mtime=0))
    files = {
        "questions": (QUESTIONS.format("train2014"), lambda: load_vqa(root.folder, "train", vqa)),
        "annotations": (ANNOTATIONS.format("train2014"), lambda: load_vqa(root.folder, "train", vqa)),
        "karpathy": ("dataset_coco.json", lambda: load_vqa(root.folder, "train", vqa)),
        "karpathy captions": ("dataset_coco.json", lambda: load_caption(root.folder, "test", caption)),
        "captions": ("captions.json", lambda: read_captions(root.folder / "captions.json")),
        "captions, gzip": ("packed/captions.json.gz", lambda: read_captions(packed)),
        "aokvqa": ("aokvqa_v1p0_train.json", lambda: load_aokvqa(root.folder, "train", vqa)),
    }
    errors = (BadFile, MissingFile, EmptySplit, MissingImages)
    return {name: Target(root.folder / file, read, errors) for name, (file, read) in files.items()}


def text(folder: Path) -> dict[str, Target]:
    write_cola(folder / "text", train=24, dev=12)
    superglue = folder / "text" / "BoolQ"
    superglue.mkdir()
    rows = [{"question": f"is it {n}", "passage": "It is.", "label": n % 2 == 0, "idx": n} for n in range(12)]
    for name in ("train", "val"):
        (superglue / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    errors = (BadFile, BadRow, BadSplit, EmptySplit, MissingFile)
    files = {"cola": "CoLA/train.tsv", "boolq": "BoolQ/train.jsonl"}
    tables = folder / "tables"
    tables.mkdir()
    cells = {"text": ["a, b", 'say "hi"', ""], "label": [0, 1, 0], "long": [["x", "y"], [], ["z"]]}
    pyarrow.parquet.write_table(pyarrow.table(cells), tables / "rows.parquet")
    (tables / "rows.csv").write_text('text,label\n"a, ""b""",0\nc,1\n')
    (tables / "rows.json").write_text(json.dumps([{"text": "a", "label": n} for n in range(3)]))
    loose = {
        f"{file.suffix[1:]} rows": Target(file, lambda file=file: read_rows(file), (BadFile,))
        for file in sorted(tables.iterdir())
    }
    return loose | {
        f"{task} rows": Target(
            folder / "text" / file, lambda task=task: load_text(folder / "text", "train", TASKS[task]), errors
        )
        for task, file in files.items()
    }


def yaml_files(folder: Path) -> dict[str, Target]:
    """Settings of a run, as flags' files and as a run folder has them, of a plan, and of a table's row."""
    configs = folder / "configs"
    row = configs / "paper" / "dept" / "table1_pt.yaml"
    row.parent.mkdir(parents=True)
    (configs / "small.yaml").write_text("max_steps: 30\n")
    row.write_text(
        "{paper: dept, table: 1, method: pt, protocol: as_published, base: [../../small.yaml],\n"
        "experiment: {max_steps: 20},\n"
        "cells: [{task: cola, published: {accuracy: 63.8}, items: 522, settings: {max_steps: 40}}],\n"
        "means: [{name: all, tasks: [cola], published: 63.8}]}\n"
    )
    plan, run, config = (configs / f"{name}.yaml" for name in ("plan", "run", "config"))
    plan.write_text("grid:\n  adapter.args.r: [2, 4]\ncells:\n  - {settings: {max_steps: 10}}\nseeds: [1, 2]\n")
    run.write_text(yaml.safe_dump(json.loads(json.dumps(Experiment(output_dir="runs/x").to_dict()))))
    config.write_text(CONFIG)
    return {
        "config": Target(
            config, lambda: parse_experiment(["--config", str(config)], description="", defaults=[]), (SystemExit,)
        ),
        "run config": Target(run, lambda: load_experiment(run), (BadConfig,)),
        "plan": Target(plan, lambda: load_plan(plan), (BadPlan,)),
        "table row": Target(row, lambda: load_plan(row), (BadPlan,)),
    }


def others(folder: Path) -> dict[str, Target]:
    picture = Image.effect_noise((40, 30), 60).convert("RGB")
    for ending in IMAGES:
        picture.save(folder / f"picture.{ending}")
    results, asked, answered = (folder / f"{name}.json" for name in ("results", "asked", "answered"))
    results.write_text(json.dumps([{"question_id": n, "answer": "two"} for n in range(3)]))
    asked.write_text(json.dumps({"questions": [{"question_id": n, "question": "?", "image_id": n} for n in range(3)]}))
    row = {"question_type": "is", "answer_type": "yes/no", "answers": [{"answer": "two"}] * 10}
    answered.write_text(json.dumps({"annotations": [{"question_id": n, **row} for n in range(3)]}))
    scored = {"results": results, "asked": asked, "answered": answered}
    checkpoint = save_checkpoint(
        folder / "run", 3, weights={"prompt": torch.zeros(2, 3)}, optimizer={"state": {}, "param_groups": []},
        schedule={}, progress={"best": None, "seconds": 1.0}, rng_states=[rng_states()],
    )  # fmt: skip
    return {
        **{
            f"image, {ending}": Target(
                folder / f"picture.{ending}",
                lambda ending=ending: open_image(folder / f"picture.{ending}"),
                (UnreadableImage,),
            )
            for ending in IMAGES
        },
        **{
            f"scored {name}": Target(
                file, lambda: score_vqa_files(results, asked, answered), (BadFile, MissingPrediction, UnknownName)
            )
            for name, file in scored.items()
        },
        **{
            f"checkpoint {name}": Target(checkpoint / name, lambda: load_checkpoint(checkpoint), (BadCheckpoint,))
            for name in ("progress.json", "adapter_model.safetensors", "optimizer.pt", "rng_0.pt")
        },
    }
