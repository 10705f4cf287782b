"""The whole path over 173 real COCO images: what is learnt does not matter, that it runs unchanged does."""

import json
from pathlib import Path

import pytest
from accelerate import Accelerator

from dept_vl import AdaptedModel
from dept_vl.data.batches import EncodedExamples
from dept_vl.data.sources import load_aokvqa
from dept_vl.data.tokenizer import load_tokenizer
from dept_vl.model import Network
from dept_vl.run.execute import run
from dept_vl.tasks import VqaTask
from dept_vl.train.evaluate import Decoding, predict
from dept_vl.vision import FrozenClip, VisualProjection, extract
from tests.tiny_models import write_tiny_clip
from tests.tiny_runs import build_network, tiny_experiment

COCO_OPEN = Path(__file__).resolve().parents[2] / "shared" / "realdata" / "coco_open"
pytestmark = [
    pytest.mark.skipif(not COCO_OPEN.is_dir(), reason="skipped: no ../shared/realdata/coco_open"),
    pytest.mark.usefixtures("afresh"),
]


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    return write_tiny_clip(tmp_path_factory.mktemp("clip") / "tiny")


def predictions(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


def test_it_trains_on_real_questions_and_answers_them(byte_t5, clip_folder, tmp_path):
    task = {"train_split": "all", "eval_split": "all", "test_split": "all", "max_source_length": 100}
    results = run(tiny_experiment(byte_t5, clip_folder, COCO_OPEN, tmp_path / "vqa", task=task, max_steps=3))
    counts = results["counts"]["train"]
    assert counts["read"] == counts["examples"] == 22 and counts["sources_cut"] == 0
    assert 0 <= results["metrics"]["test"]["vqa_accuracy"] <= 1 and results["metrics"]["test"]["warnings"] == []
    assert 0 < results["baselines"]["majority"] <= 1
    rows = predictions(tmp_path / "vqa")
    assert len(rows) == 22 and all(len(row["references"]) == 10 for row in rows)
    model = AdaptedModel.from_pretrained(tmp_path / "vqa", backbone=byte_t5)
    answers = model.answer([COCO_OPEN / "images" / row["image"] for row in rows], [row["text"] for row in rows])
    assert answers == [row["prediction"] for row in rows]


@pytest.mark.usefixtures("meteor_at_once")
@pytest.mark.filterwarnings("ignore:train. targets. all 590 are cut:UserWarning")  # a byte is a token here
def test_it_trains_on_real_captions_and_captions_the_test_split(byte_t5, clip_folder, tmp_path):
    task = {"name": "caption", "num_beams": 2, "max_source_length": 20, "max_target_length": 16}
    plan = {"task": task, "max_steps": 3, "eval_steps": 3}
    results = run(tiny_experiment(byte_t5, clip_folder, COCO_OPEN, tmp_path / "caption", **plan))
    examples = {role: counts["examples"] for role, counts in results["counts"].items()}
    assert examples == {"train": 38 + 106 - 173 + 147, "eval": 13, "test": 16}
    assert {"Bleu_4", "METEOR", "ROUGE_L", "CIDEr"} < set(results["metrics"]["test"])
    assert set(results["metrics"]["val"]) == {"step", "CIDEr"}  # METEOR takes seconds: for the reported score alone
    assert results["baselines"]["constant"] > 0  # a real caption shares words with others
    rows = predictions(tmp_path / "caption")
    assert len(rows) == 16 and all(len(row["references"]) == 5 for row in rows)
    model = AdaptedModel.from_pretrained(tmp_path / "caption", backbone=byte_t5)
    captions = model.caption([COCO_OPEN / "images" / row["image"] for row in rows[:4]])
    assert captions == [row["prediction"] for row in rows[:4]]


def test_aokvqa_is_read_answered_and_scored(byte_t5, clip_folder, tmp_path):
    task = VqaTask()
    loaded = load_aokvqa(COCO_OPEN, "val", task)
    assert loaded.counts["read"] == 1145 and loaded.counts["images"] == 37
    clip = FrozenClip.load(f"local-dir:{clip_folder}", layer=3, pooling="none", resize="squash")
    store = extract(clip, loaded.image_paths, tmp_path / "features")
    encoded = EncodedExamples(loaded.examples, load_tokenizer(str(byte_t5)), max_source_length=100, max_target_length=8)
    parts = build_network(byte_t5)
    network = Network(
        parts.backbone, {"adapter": parts.adapter, "projection": VisualProjection(clip.width, 16, clip.num_patches)}
    )
    accelerator = Accelerator(cpu=True)
    answers = predict(accelerator, network, load_tokenizer(str(byte_t5)), encoded, store.gather, Decoding(8))
    assert set(answers) == {example.id for example in loaded.examples} and all(isinstance(id, str) for id in answers)
    scores = task.score(answers, loaded.examples, split_size=loaded.counts["in_split"])
    assert 0 <= scores["vqa_accuracy"] <= 1
    perfect = {example.id: example.targets[0] for example in loaded.examples}
    assert task.score(perfect, loaded.examples)["vqa_accuracy"] > 0.7
