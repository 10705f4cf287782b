import pytest

from dept_vl.data.sources import load_caption
from dept_vl.tasks import CaptionTask

ROW = {"image_id": 7, "image": "7.jpg", "captions": ("A cat.\n", "  ", "The cat sits.", "A cat.")}


def test_an_image_is_one_example_visited_once_per_caption():
    example = CaptionTask().read(ROW)
    assert example.id == 7 and example.source == "caption:" and example.text == ""
    assert example.targets == ("A cat.", "The cat sits.", "A cat.") and example.visits == 3
    assert example.weights == (1 / 3,) * 3 and example.references == ROW["captions"]


@pytest.mark.parametrize("captions", [(), (" ", "\n")])
def test_an_image_without_a_caption_is_no_example(captions):
    assert CaptionTask().read({**ROW, "captions": captions}) is None


def test_a_template_with_a_field_is_refused():
    with pytest.raises(ValueError, match="template: wanted a text without fields, given 'caption {image}'"):
        CaptionTask("caption {image}")


def test_metrics_without_the_headline_are_refused():
    with pytest.raises(ValueError, match=r"metrics: wanted CIDEr among them, given \('Bleu',\)"):
        CaptionTask(metrics=("Bleu",))


@pytest.mark.usefixtures("meteor_at_once")
def test_real_captions_score_above_a_constant_one(real):
    examples = load_caption(real / "coco_open", "test", CaptionTask()).examples
    told = CaptionTask().score({example.id: example.targets[0] for example in examples}, examples)
    constant = CaptionTask(metrics=("CIDEr",)).score(
        {example.id: "a man riding a wave" for example in examples}, examples
    )
    assert told["CIDEr"] > 1 > constant["CIDEr"] and told["Bleu_4"] > 0.9 and told["warnings"] == []
    assert {"METEOR", "ROUGE_L"} <= set(told) | set(told["skipped"]) and "METEOR" not in constant
