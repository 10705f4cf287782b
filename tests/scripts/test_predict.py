"""The predict command on tiny models: its lines, its exit codes, what it says of images that cannot be read."""

import json
from pathlib import Path

import pytest
import torch

from dept_vl.adapters import build_adapter
from dept_vl.backbones import load_backbone
from dept_vl.cli import predict as command
from dept_vl.saved import ModelFacts, save_adapter
from dept_vl.serve import AdaptedModel
from dept_vl.vision import FrozenClip, VisualProjection
from tests.tiny_models import paint, write_tiny_clip, write_tiny_t5


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two adapter folders, "vqa" and "caption", beside the models that they were made for."""
    folder = tmp_path_factory.mktemp("runs")
    write_tiny_t5(folder / "t5")
    write_tiny_clip(folder / "clip")
    backbone = load_backbone(str(folder / "t5"))
    clip = FrozenClip.load(f"local-dir:{folder / 'clip'}", layer=2, pooling="none", resize="squash")
    for name, template in (("vqa", "vqa: {question}"), ("caption", "caption:")):
        generator = torch.Generator().manual_seed(0)
        adapter = build_adapter("pt", torch.randn(3, 32, generator=generator), {"num_virtual_tokens": 3}, generator)
        save_adapter(
            folder / name,
            {"adapter": adapter, "projection": VisualProjection(clip.width, 32, clip.num_patches, generator)},
            backbone_identity=backbone.identity(),
            vision_identity=clip.identity(),
            task={
                "name": name, "template": template, "protocol": None, "max_source_length": 12, "max_target_length": 4,
                "num_beams": 2,
                "labels": {},
                "pad_token": None,
            },
            card=ModelFacts(name),
        )  # fmt: skip
    return folder


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(3):
        paint(seed).save(folder / f"{seed}.png")
    return folder


@pytest.fixture
def predict(runs, capsys):
    """Run the command; returns exit code, the lines that it printed, and stderr."""

    def predict(adapter, image, *more):
        flags = ["--adapter", runs / adapter, "--image", image, "--backbone", runs / "t5", *more]
        code, message = 0, ""
        try:
            command([str(flag) for flag in flags])
        except SystemExit as error:  # with a message the status is 1
            code, message = (1, error.code) if isinstance(error.code, str) else (error.code, "")
        out, err = capsys.readouterr()
        return code, [json.loads(line) for line in out.splitlines()], err + message

    return predict


def test_a_question_about_one_image(predict, runs, images):
    code, lines, _ = predict("vqa", images / "0.png", "--question", "what color ?")
    wanted = AdaptedModel.from_pretrained(runs / "vqa", backbone=runs / "t5").answer([paint(0)], ["what color ?"])
    assert code == 0
    assert lines == [{"image": str(images / "0.png"), "question": "what color ?", "answer": wanted[0]}]


def test_a_folder_is_captioned_in_order_of_its_names(predict, images, tmp_path):
    output = tmp_path / "captions.jsonl"
    code, printed, err = predict("caption", images, "--output", output)
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert (code, printed) == (0, []) and "could not be read" not in err
    assert [Path(line["image"]).name for line in lines] == ["0.png", "1.png", "2.png"]
    assert all(len(line["caption"].split()) == 4 for line in lines)


def test_unreadable_images_are_named_and_counted_and_the_rest_is_answered(predict, images):
    data = (images / "1.png").read_bytes()
    (images / "1.png").write_bytes(data[: len(data) // 2])
    (images / "note.txt").write_text("hello")
    (images / ".hidden").write_text("not looked at")
    code, lines, err = predict("caption", images)
    assert code == 0 and [Path(line["image"]).name for line in lines] == ["0.png", "2.png"]
    assert f"cannot read the image {images / '1.png'}" in err and f"cannot read the image {images / 'note.txt'}" in err
    assert "2 of 4 images could not be read" in err and ".hidden" not in err


def test_nothing_readable_is_an_error(predict, images, tmp_path):
    code, lines, err = predict("caption", tmp_path / "nowhere.png")
    assert (code, lines) == (1, [])
    assert "nowhere.png" in err and "wanted at least one readable image, given none of 1 files" in err
    (tmp_path / "empty").mkdir()
    code, _, err = predict("caption", tmp_path / "empty", "--output", tmp_path / "out.jsonl")
    assert code == 1 and "given none of 0 files" in err and not (tmp_path / "out.jsonl").exists()


def test_a_caption_asked_of_an_adapter_that_answers(predict, images, tmp_path):
    code, _, err = predict("vqa", images, "--output", tmp_path / "out.jsonl")
    assert code == 1 and "caption(): wanted an adapter for 'caption', given 'default'" in err
    assert not (tmp_path / "out.jsonl").exists()


def test_no_adapter(predict, images, runs):
    code, _, err = predict("nothing", images)
    assert code == 1 and f"{runs / 'nothing'}: wanted a folder with adapter_config.json" in err
    assert err.count(": error: ") == 1 and err.count("\n") == 0


def test_help_explains_every_flag(capsys):
    with pytest.raises(SystemExit):
        command(["--help"])
    out = capsys.readouterr().out
    assert all(flag in out for flag in ("--adapter RUN", "--image IMAGE", "--question", "--device", "--output JSONL"))
