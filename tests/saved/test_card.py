import pytest
import yaml

from dept_vl.saved.card import ModelFacts, model_card, vision_hub_name

PARTS = {"adapter": {"name": "pt", "token_dim": 8, "args": {"num_virtual_tokens": 3}, "state": {}}}
CONFIG = {"base_model_name_or_path": "t5-base", "parts": PARTS, "vision": None, "task": None}


@pytest.mark.parametrize(
    ("name", "tag", "wanted"),
    [
        ("RN101", "openai", "RN101/openai"),
        ("ViT-B/32", "laion2b_s34b_b79k", "ViT-B-32/laion2b_s34b_b79k"),
        ("tiny-clip", None, "tiny-clip"),
        ("hf-hub:org/model", None, "org/model"),
        ("local-dir:/home/someone/models/clip/", None, "clip"),
        ("RN50", "/home/someone/weights.pt", "RN50"),
    ],
)
def test_a_clip_is_named_without_the_folders_of_the_machine(name, tag, wanted):
    assert vision_hub_name({"vision_model_name": name, "vision_pretrained": tag}) == wanted


@pytest.mark.parametrize(
    ("kind", "name", "wanted"),
    [
        ("transformers", "google/siglip2-base-patch16-224", "google/siglip2-base-patch16-224"),
        ("transformers", "/home/someone/models/vit/", "vit"),
        ("transformers", "./models/vit", "vit"),
        ("timm", "efficientnet_lite0", "timm/efficientnet_lite0"),
        ("timm", "hf-hub:org/model", "org/model"),
    ],
)
def test_a_tower_of_another_library_is_named_as_its_hub_does(kind, name, wanted):
    assert vision_hub_name({"vision_kind": kind, "vision_model_name": name, "vision_pretrained": None}) == wanted


def test_a_card_of_little_says_little():
    card = model_card(CONFIG, ModelFacts("bare"))
    header = yaml.safe_load(card.split("---\n")[1])
    assert header == {
        "base_model": ["t5-base"],
        "library_name": "dept_vl",
        "tags": ["dept_vl", "pt"],
    }
    assert "# bare\n" in card and "x100" not in card and 'load_adapter("this/folder")' in card


def test_a_captioner_s_card_shows_how_to_caption():
    task = {"name": "caption", "template": "caption:", "labels": {}}
    card = model_card(CONFIG | {"task": task}, ModelFacts("captioner", notes="Seen: nothing."))
    assert 'model.caption(["photo.jpg"])' in card and "Seen: nothing." in card


@pytest.mark.parametrize(
    ("labels", "kind", "use"),
    [
        ({"0": "no", "1": "yes"}, "text-classification", 'model.classify([{"question": "...", "passage": "..."}])'),
        ({}, "text-generation", 'model.generate([{"question": "...", "passage": "..."}])'),
    ],
)
def test_a_text_adapter_s_card_shows_how_to_ask_it(labels, kind, use):
    task = {"name": "boolq", "template": "question: {question} passage: {passage}", "labels": labels}
    card = model_card(CONFIG | {"task": task}, ModelFacts("reader"))
    assert use in card and f"pipeline_tag: {kind}" in card and "the frozen model is loaded beside it" in card
