"""Files from strangers, broken at random: only documented errors, no hang, no memory for sizes that a header claims.

`make fuzz` tries more inputs of each kind: DEPT_VL_FUZZ_INPUTS of them.
"""

import dataclasses
import io
import json
import os
import re
import resource
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from PIL import Image

from dept_vl.adapters import build_adapter
from dept_vl.checkpoint import BadAdapterFolder, ModelFacts, read_any, save_adapter
from dept_vl.checkpoint.resumable import BadCheckpoint, load_checkpoint, rng_states, save_checkpoint
from dept_vl.config import parse_experiment
from dept_vl.data import EmptySplit
from dept_vl.data.annotation_files import BadAnnotation, MissingFile
from dept_vl.data.coco import read_captions
from dept_vl.data.image_files import MissingImages
from dept_vl.data.sources import load_caption, load_vqa
from dept_vl.data.text_sources import load_text
from dept_vl.data.text_splits import BadSplit
from dept_vl.metrics import BadFile, MissingPrediction, score_vqa_files
from dept_vl.registry import UnknownName
from dept_vl.tasks import TASKS
from dept_vl.tasks.caption import CaptionTask
from dept_vl.tasks.text_task import BadRow
from dept_vl.tasks.vqa import VqaTask
from dept_vl.vision import FrozenClip, VisualProjection
from dept_vl.vision.features import MANIFEST, FeatureStore, MissingFeatures
from dept_vl.vision.images import UnreadableImage, open_image
from dept_vl.vision.shards import DamagedStore
from dept_vl.vision.store import extract
from tests.checkpoint.conftest import ARGUMENTS, BACKBONE, D_MODEL, PATCHES, TASK, VISION, WIDTH
from tests.data.conftest import ANNOTATIONS, QUESTIONS, Root
from tests.fuzz.mutations import mutated
from tests.tiny_runs import write_cola

INPUTS = int(os.environ.get("DEPT_VL_FUZZ_INPUTS", 40))
SECONDS = 5  # that reading one input may take
RECORD = Path("/proc/self/clear_refs")
MEMORY = 512  # MiB by which the process may grow over all inputs of a kind


@dataclasses.dataclass(frozen=True)
class Target:
    """A good file, and what reads it."""

    file: Path
    read: Callable[[], object]
    errors: tuple[type[BaseException], ...]


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory, place: Path) -> dict[str, Target]:
    folder = tmp_path_factory.mktemp("good")
    return adapters(folder) | features(place, folder) | annotations(folder) | text(folder) | others(folder)


def adapters(folder: Path) -> dict[str, Target]:
    facts = ModelFacts("dept", dataset="VQA v2", split="test", metrics={"vqa_accuracy": 0.5}, protocol="p", training={})
    built = build_adapter("dept", torch.zeros(3, D_MODEL), ARGUMENTS["dept"], torch.Generator())
    projection = VisualProjection(WIDTH, D_MODEL, PATCHES, torch.Generator())
    save_adapter(
        folder / "own", built, projection, backbone_identity=BACKBONE, vision_identity=VISION, task=TASK, card=facts
    )  # fmt: skip
    released = folder / "released"
    released.mkdir()
    (released / "adapter_config.json").write_text(json.dumps({
        "peft_type": "PROMPT_TUNING_LORA", "num_virtual_tokens": 3, "token_dim": 8, "r": 2, "max_length": 7,
    }))  # fmt: skip
    shapes = {"prompt_embeddings": (3, 8), "prompt_encoder.lora_embedding_A": (7, 2),
              "prompt_encoder.lora_embedding_B": (2, 8)}  # fmt: skip
    torch.save({name: torch.zeros(shape) for name, shape in shapes.items()}, released / "adapter_model.bin")
    files = {
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

    files = {"store manifest": store.folder / MANIFEST, "store shard": store.folder / "0-4.safetensors"}
    return {name: Target(file, read, (DamagedStore, MissingFeatures)) for name, file in files.items()}


def annotations(folder: Path) -> dict[str, Target]:
    root = Root(folder / "coco")
    root.write()
    vqa, caption = VqaTask(), CaptionTask()
    files = {
        "questions": (QUESTIONS.format("train2014"), lambda: load_vqa(root.folder, "train", vqa)),
        "annotations": (ANNOTATIONS.format("train2014"), lambda: load_vqa(root.folder, "train", vqa)),
        "karpathy": ("dataset_coco.json", lambda: load_vqa(root.folder, "train", vqa)),
        "karpathy captions": ("dataset_coco.json", lambda: load_caption(root.folder, "test", caption)),
        "captions": ("captions.json", lambda: read_captions(root.folder / "captions.json")),
    }
    errors = (BadAnnotation, MissingFile, EmptySplit, MissingImages)
    return {name: Target(root.folder / file, read, errors) for name, (file, read) in files.items()}


def text(folder: Path) -> dict[str, Target]:
    write_cola(folder / "text", train=24, dev=12)
    superglue = folder / "text" / "BoolQ"
    superglue.mkdir()
    rows = [{"question": f"is it {n}", "passage": "It is.", "label": n % 2 == 0, "idx": n} for n in range(12)]
    for name in ("train", "val"):
        (superglue / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    errors = (BadAnnotation, BadRow, BadSplit, EmptySplit, MissingFile)
    files = {"cola": "CoLA/train.tsv", "boolq": "BoolQ/train.jsonl"}
    return {
        f"{task} rows": Target(
            folder / "text" / file, lambda task=task: load_text(folder / "text", "train", TASKS[task]), errors
        )
        for task, file in files.items()
    }


def others(folder: Path) -> dict[str, Target]:
    picture = Image.effect_noise((40, 30), 60).convert("RGB")
    for ending in ("png", "jpg", "webp", "gif"):
        picture.save(folder / f"picture.{ending}")
    config = folder / "config.yaml"
    config.write_text("max_steps: 10\nadapter:\n  name: dept\n  r: 4\noptim:\n  lr: {prompt: 0.3, low_rank: 5.0e-4}\n")
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
            for ending in ("png", "jpg", "webp", "gif")
        },
        "config": Target(
            config, lambda: parse_experiment(["--config", str(config)], description="", defaults=[]), (SystemExit,)
        ),
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


KINDS = (
    "adapter config", "adapter weights", "released config", "released weights, pickled", "store manifest",
    "store shard", "questions", "annotations", "karpathy", "karpathy captions", "captions", "cola rows",
    "boolq rows", "image, png", "image, jpg", "image, webp", "image, gif", "config", "scored results",
    "scored asked", "scored answered", "checkpoint progress.json", "checkpoint adapter_model.safetensors",
    "checkpoint optimizer.pt", "checkpoint rng_0.pt",
)  # fmt: skip


def forget_peak() -> None:
    """The kernel's record of the most memory that this process held starts anew."""
    if RECORD.exists():
        RECORD.write_text("5")


def peak() -> float:
    """The most memory that this process has held since, in MiB."""
    if RECORD.exists():
        return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_the_measure_of_memory_sees_what_was_held_and_let_go():
    forget_peak()
    before = peak()
    bytes(bytearray(600 * 2**20))
    assert peak() - before > MEMORY


def test_every_kind_is_attacked(kinds):
    assert tuple(kinds) == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_file_is_read_or_refused_by_name(kind, kinds):
    target = kinds[kind]
    target.read()
    forget_peak()
    good, before = target.file.read_bytes(), peak()
    refused = []

    @settings(
        max_examples=INPUTS, deadline=SECONDS * 1000, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(data=mutated(good))
    def attack(data: bytes) -> None:
        target.file.write_bytes(data)
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            try:
                target.read()
            except target.errors as error:
                refused.append(error)

    try:
        attack()
    finally:
        target.file.write_bytes(good)
    assert refused  # or nothing was broken
    assert peak() - before < MEMORY
