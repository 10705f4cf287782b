"""Whole runs on language models other than T5, GPT-2 and LLaMA: trained, saved, loaded, asked."""

import dataclasses
import shutil

import pytest

from dept_vl import AdaptedModel
from dept_vl.config import BackboneConfig
from dept_vl.run.execute import run
from tests.backbones.families import write_family
from tests.tiny_runs import json_lines, text_experiment, write_cola


@pytest.fixture
def write(byte_t5, tmp_path):
    """A random model of a family over the byte-level tokenizer of 300 pieces."""

    def write(name, **changes):
        folder = write_family(name, tmp_path / "model", vocab_size=300, **changes)
        for file in byte_t5.glob("token*"):
            shutil.copy(file, folder)
        return folder

    return write


def test_a_pegasus_that_scales_answers_questions_about_pictures(write, experiment, place, afresh):
    folder = write("pegasus")
    config = dataclasses.replace(experiment(max_steps=2, eval_steps=0), backbone=BackboneConfig(str(folder)))
    assert 0 <= run(config)["metrics"]["test"]["vqa_accuracy"] <= 1
    clip = f"local-dir:{place / 'clip'}"
    model = AdaptedModel.from_pretrained(config.output_dir, backbone=folder, vision=clip)
    pictures = sorted((place / "shapes" / "images").iterdir())[:3]
    questions = ["what color is it", "how many circles are there", "is it red"]
    alone = [model.answer([picture], [question])[0] for picture, question in zip(pictures, questions, strict=True)]
    assert model.answer(pictures, questions) == alone


def test_a_gemma_reads_texts_longer_than_its_window(write, tmp_path, afresh):
    folder = write("gemma3 beyond its window", eos_token_id=[1, 7], bos_token_id=None)
    config = text_experiment(
        folder, write_cola(tmp_path), tmp_path / "run", max_steps=2, eval_steps=0, backbone={"kind": "causal"}
    )
    run(config)
    rows = json_lines(tmp_path / "run" / "predictions.jsonl")
    model = AdaptedModel.from_pretrained(tmp_path / "run", backbone=folder)
    sentences, names = [row["text"].removeprefix("sentence: ") for row in rows], ("unacceptable", "acceptable")
    wanted = [names[int(row["prediction"])] for row in rows]
    assert model.classify(sentences) == wanted == [model.classify([each])[0] for each in sentences]
    assert len(rows) == 6 and model.backbone.prompt_cache.computed == 0
