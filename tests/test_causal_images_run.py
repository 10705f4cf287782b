"""Complete runs of VQA and captions on a decoder-only model of random weights: what they write, and what reads it."""

import dataclasses
import json

import pytest
from PIL import Image

from dept_vl import AdaptedModel
from dept_vl.config import BadConfig, ProgressiveConfig
from dept_vl.run.execute import run
from dept_vl.run.saved import score_adapter
from dept_vl.saved import BadAdapterFolder, read_adapter
from tests.tiny_runs import forget_accelerate, json_lines, losses, tiny_experiment, write_byte_causal

ORDERS = {"gpt2": "auto", "llama": "visual,prompt,text"}
LENGTHS = {"max_source_length": 80, "max_target_length": 16}  # a decoder-only model's targets are never cut


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("causal")
    return {kind: write_byte_causal(root / kind, kind) for kind in ORDERS}


@pytest.fixture(scope="module")
def make(folders, place):
    """The config of a short run on that model, into a folder."""

    def make(kind, output, **changes):
        task = {**LENGTHS, **changes.pop("task", {})}
        vision = {"feature_dir": str(place / "features"), "token_order": ORDERS[kind]}
        places = folders[kind], place / "clip", place / "shapes", output
        config = tiny_experiment(*places, task=task, vision=vision, **changes)
        return dataclasses.replace(config, backbone=dataclasses.replace(config.backbone, kind="causal"))

    return make


@pytest.fixture(scope="module")
def finished(make, tmp_path_factory):
    """The folder of a VQA run by model, and what `run` returned."""
    root, done = tmp_path_factory.mktemp("runs"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        for kind in ORDERS:
            forget_accelerate()
            done[kind] = root / kind, run(make(kind, root / kind, save_steps=2, eval_steps=0))
        yield done
        forget_accelerate()


@pytest.fixture
def opened(finished, folders, place):
    def opened(kind):
        return AdaptedModel.from_pretrained(finished[kind][0], backbone=folders[kind])

    return opened


def asked(folder, place) -> tuple[list, list[str], list[str]]:
    rows = json_lines(folder / "predictions.jsonl")
    images = [place / "shapes" / "images" / row["image"] for row in rows]
    return images, [row["text"] for row in rows], [row["prediction"] for row in rows]


@pytest.mark.parametrize("kind", ORDERS)
def test_a_run_records_its_order_and_its_template(finished, kind):
    config = read_adapter(finished[kind][0]).config
    assert config["task_type"] == "CAUSAL_LM" and config["task"]["template"] == "Question: {question} Answer:"
    order = "prompt,visual,text" if ORDERS[kind] == "auto" else ORDERS[kind]
    assert config["token_order"] == order.split(",")
    results = finished[kind][1]
    assert results["counts"]["train"]["sources_cut"] == 0 and "blind" in results["baselines"]


@pytest.mark.parametrize("kind", ORDERS)
def test_the_saved_adapter_answers_as_the_run_did_and_reads_each_picture_once(finished, opened, place, kind):
    images, questions, wanted = asked(finished[kind][0], place)
    model = opened(kind)
    assert model.answer(images, questions) == wanted
    assert model.backbone.image_cache.computed == len(set(images)) < len(images)
    assert model.answer(images[::-1], questions[::-1]) == wanted[::-1]
    again = [answer for each in zip(images, questions, strict=True) for answer in model.answer([each[0]], [each[1]])]
    assert again == wanted and len(set(wanted)) > 2
    computed = model.backbone.image_cache.computed
    with Image.open(images[-1]) as picture:  # the same pixels, however they are given
        assert model.answer([images[-1], picture], questions[-1:] * 2) == wanted[-1:] * 2
    assert model.backbone.image_cache.computed == computed


@pytest.mark.usefixtures("afresh")
def test_scoring_the_saved_adapter_rebuilds_the_order(finished, folders, place, tmp_path, monkeypatch):
    folder, results = finished["llama"]
    assert ORDERS["llama"] != "auto"
    monkeypatch.chdir(tmp_path)  # where its features go
    monkeypatch.setattr("dept_vl.run.assembly.threads", lambda *_: 1)
    scored = score_adapter(
        str(folder), "vqa", root=str(place / "shapes"), backbone=str(folders["llama"]),
        predictions="p.jsonl", batch_size=3,
    )  # fmt: skip
    assert scored["vqa_accuracy"] == results["metrics"]["test"]["vqa_accuracy"]
    assert [row["prediction"] for row in json_lines(tmp_path / "p.jsonl")] == asked(folder, place)[2]


@pytest.mark.usefixtures("afresh")
def test_a_resumed_run_ends_like_one_that_never_stopped(finished, make, tmp_path):
    folder, _ = finished["gpt2"]
    config = make("gpt2", tmp_path / "again", save_steps=2, eval_steps=0)
    assert config.backbone.dropout
    run(dataclasses.replace(config, resume_from_checkpoint=str(folder / "checkpoints" / "step_2")))
    for name in ("adapter_model.safetensors", "predictions.jsonl"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    assert losses(tmp_path / "again") == losses(folder)[2:]


@pytest.mark.usefixtures("afresh", "meteor_at_once")
def test_captions_run_the_same_way_with_beams(make, folders, place, tmp_path):
    task = {"name": "caption", "num_beams": 2, "max_target_length": 120, "max_test_samples": 3}
    run(make("gpt2", tmp_path / "run", task=task, max_steps=2, eval_steps=0))
    assert read_adapter(tmp_path / "run").config["task"]["template"] == "Caption:"
    rows = json_lines(tmp_path / "run" / "predictions.jsonl")
    model = AdaptedModel.from_pretrained(tmp_path / "run", backbone=folders["gpt2"])
    pictures = [place / "shapes" / "images" / row["image"] for row in rows]
    assert model.caption(pictures * 2) == [row["prediction"] for row in rows] * 2
    assert model.backbone.image_cache.computed == 3


def test_partial_models_of_a_decoder_alone_stay_refused(make, tmp_path):
    config = make("gpt2", tmp_path)
    with pytest.raises(BadConfig, match="progressive.kind: wanted none for a causal backbone, given 'depth'"):
        dataclasses.replace(config, progressive=ProgressiveConfig(kind="depth"))


def test_an_order_that_the_backbone_cannot_read_is_refused_in_a_folder_too(finished, tmp_path):
    for file in finished["gpt2"][0].glob("adapter_*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"token_order": ["prompt", "text", "visual"]}))
    with pytest.raises(BadAdapterFolder, match="wanted token_order .* for a causal backbone, given .*prompt.*text"):
        read_adapter(tmp_path)
