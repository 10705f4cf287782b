import io
import subprocess
import sys
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pytest
import torch

import dept_vl
from dept_vl.adapters import ADAPTERS
from dept_vl.backbones import MissingBackbone
from dept_vl.model import BASE, Batch, Network
from dept_vl.registry import DeptVLWarning
from dept_vl.saved import MismatchedBackbone, read_adapter
from dept_vl.serve import AdaptedModel, UnknownAdapter, WrongRows
from dept_vl.serve.rows import plan_rows
from tests.tiny_models import write_tiny_clip, write_tiny_t5

QUESTIONS = [
    "what color is the circle ?",
    "what shape",
    "how many red",
    "is there a star on the left ?",
    "where is the big one",
    "yes there no",
]


def test_the_answers_are_those_of_the_network(save, load, backbone, clip, pictures):
    """One row at a time, through the unfolded adapter and the Network that training uses."""
    folder = save("dept")
    model, saved = load(folder), read_adapter(folder)
    network = Network(backbone, saved.parts).eval()
    wanted = []
    for picture, question in zip(pictures, QUESTIONS, strict=True):
        ids = torch.tensor([model.tokenizer(f"vqa: {question}")["input_ids"]])
        features = clip(clip.preprocess(picture)[None])
        out = network.generate(Batch(ids, torch.ones_like(ids), features=features), max_new_tokens=6)
        wanted.append(model.tokenizer.decode(out[0], skip_special_tokens=True))
    answers = model.answer(pictures, QUESTIONS)
    assert answers == wanted
    assert len(set(answers)) > 3, "a model that always says the same tests nothing"


def test_a_batch_that_mixes_adapters_answers_as_each_alone(save, load, pictures):
    names = sorted(ADAPTERS)
    model = load(save(names[0], seed=0), adapter_name=names[0])
    for seed, name in enumerate(names[1:], 1):
        model.load_adapter(save(name, seed=seed), adapter_name=name)
    rows, number = names * 2, 2 * len(names)
    asked, seen = (list(islice(cycle(each), number)) for each in (QUESTIONS, pictures))
    alone = []
    for name, picture, question in zip(rows, seen, asked, strict=True):
        model.set_adapter(name)
        alone += model.answer([picture], [question])
    assert model.answer(seen, asked, adapter_names=rows) == alone
    assert len(set(alone)) > 3

    model.set_adapter(names[0])
    swapped = model.answer(seen, asked, adapter_names=rows[::-1])
    assert swapped != alone, "the adapters all say the same: the comparison is empty"


def test_a_mixed_batch_reads_the_embeddings_of_each_alone(save, load, pictures):
    model = load(save("dept"), adapter_name="seeing")
    model.load_adapter(save("pt", visual=False), adapter_name="text")
    names, images = ["seeing", "text", BASE, "seeing"], [pictures[0], None, None, pictures[1]]
    rows = plan_rows("vqa", images, QUESTIONS[:4], names, model.adapters)
    with torch.no_grad():
        embeds, mask = model.network.embed(model.batch_of(rows))
        for place, row in enumerate(rows):
            alone, alone_mask = model.network.embed(model.batch_of([row]))
            assert mask[place].sum() == alone_mask.sum() == alone.shape[1]
            torch.testing.assert_close(embeds[place, : alone.shape[1]], alone[0], rtol=1e-5, atol=1e-5)
        ids = torch.tensor([model.tokenizer(rows[2].source)["input_ids"]])
        bare = model.backbone.embed(ids)[0]
    assert torch.equal(embeds[2, : len(bare)], bare), "the base model's row has something else than its text"


@pytest.mark.parametrize("number", [30, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_bank_of_many_adapters_gives_each_row_what_its_own_alone_does(number, save, load):
    """Every row of a batch has another adapter; 1,000 of them are loaded at once."""
    folders = [save("dept", f"adapter_{seed}", seed=seed, visual=False) for seed in range(number)]
    names = [folder.name for folder in folders]
    bank = load(folders[0], adapter_name=names[0])
    for folder, name in zip(folders[1:], names[1:], strict=True):
        bank.load_adapter(folder, adapter_name=name)
    asked = [QUESTIONS[place % len(QUESTIONS)] for place in range(number)]
    answers = bank.answer(None, asked, adapter_names=names)
    rows = plan_rows("vqa", None, asked, names, bank.adapters)
    with torch.no_grad():
        mixed, mask = bank.network.embed(bank.batch_of(rows))
    alone = load(folders[0], adapter_name=names[0])
    seen = set()
    for place, (folder, name) in enumerate(zip(folders, names, strict=True)):
        if place:
            alone.delete_adapter(names[place - 1])
            alone.load_adapter(folder, adapter_name=name)
        with torch.no_grad():
            embeds, own = alone.network.embed(
                alone.batch_of(plan_rows("vqa", None, [asked[place]], [name], alone.adapters))
            )
        assert torch.equal(mixed[place, : int(own.sum())], embeds[0]) and mask[place].sum() == own.sum()
        assert alone.answer(None, [asked[place]]) == [answers[place]]
        seen.add(embeds.numpy().tobytes())
    assert len(seen) == number, "adapters that are alike test nothing"


def test_rows_keep_their_places_whatever_their_decoding(save, load, pictures):
    model = load(save("pt", max_target_length=6))
    model.load_adapter(save("dept", max_target_length=2, num_beams=3), adapter_name="short")
    short, long = model.answer(pictures[:2], QUESTIONS[:2], ["short", "default"])
    assert [short] == model.answer(pictures[:1], QUESTIONS[:1], ["short"]) and len(short.split()) == 2
    assert [long] == model.answer(pictures[1:2], QUESTIONS[1:2]) and len(long.split()) == 6


def test_more_rows_than_a_batch(save, load, pictures, monkeypatch):
    model = load(save())
    whole = model.answer(pictures, QUESTIONS)
    monkeypatch.setattr("dept_vl.serve.adapted.BATCH_SIZE", 4)
    assert model.answer(pictures, QUESTIONS) == whole
    assert model.answer([], []) == []


def test_captions_use_the_beams_that_the_adapter_records(save, load, pictures, monkeypatch):
    model = load(save(name="caption", template="caption:", protocol=None, num_beams=5, max_target_length=4))
    seen, generate = [], model.backbone.generate
    monkeypatch.setattr(model.backbone, "generate", lambda *a, **kw: seen.append(kw) or generate(*a, **kw))
    assert [len(caption.split()) for caption in model.caption(pictures)] == [4] * 6
    assert seen == [{"max_new_tokens": 4, "num_beams": 5, "prompt_length": 3, "images": None}]


def test_files_pictures_and_pixels_are_one(save, load, pictures, tmp_path):
    model, file = load(save()), tmp_path / "picture.png"
    pictures[0].save(file)
    array = np.array(pictures[0])
    images = [file, str(file), pictures[0], model.preprocess(file), file.read_bytes(), io.BytesIO(file.read_bytes())]
    images += [array, array / 255, torch.from_numpy(array).permute(2, 0, 1)]
    assert all(torch.equal(model.preprocess(each), images[3]) for each in images)
    assert len(set(model.answer(images, QUESTIONS[:1] * 9))) == 1


def test_a_text_adapter_needs_no_clip(save, load):
    model = load(save("dept", visual=False))
    assert model.tower is None
    assert len(model.answer(None, QUESTIONS)) == len(QUESTIONS)
    with pytest.raises(WrongRows, match="no adapter here reads images"):
        model.preprocess("picture.png")


def test_disabled_is_the_base_model(save, load):
    model = load(save("dept", visual=False))
    adapted = model.answer(None, QUESTIONS)
    with model.disable_adapter():
        assert model.active_adapters == []
        base = model.answer(None, QUESTIONS)
    assert model.active_adapters == ["default"] and model.answer(None, QUESTIONS) == adapted
    assert base == model.answer(None, QUESTIONS, [BASE] * len(QUESTIONS)) != adapted


def test_adapters_come_and_go(save, load, pictures):
    model = load(save("pt"))
    first = model.answer(pictures, QUESTIONS)
    model.load_adapter(save("dept"), adapter_name="second")
    assert model.active_adapters == ["default"] and model.answer(pictures, QUESTIONS) == first
    model.set_adapter("second")
    second = model.answer(pictures, QUESTIONS)
    assert second != first
    model.delete_adapter("default")
    assert model.active_adapters == ["second"] and model.answer(pictures, QUESTIONS) == second
    with pytest.raises(UnknownAdapter, match=r"unknown adapter 'default': wanted one that is loaded \(second\)"):
        model.answer(pictures, QUESTIONS, ["default"] * 6)


def test_a_question_that_the_tokenizer_does_not_carry_is_said(save, load, pictures):
    with pytest.warns(
        DeptVLWarning, match="texts: 50.0 % of 2 are not carried by the tokenizer: 'zebra' comes back as ''"
    ):
        load(save()).answer(pictures[:2], ["what color is the zebra", "what shape"])


def test_a_long_question_is_cut_and_it_is_said(save, load, pictures):
    model = load(save(max_source_length=6))
    with pytest.warns(UserWarning, match="2 of 3 texts have more than max_source_length=6 tokens"):
        model.answer(pictures[:3], ["what", "what color is the big red circle", "is the star above the small square"])


def test_a_saved_model_is_the_same_model(save, load, pictures, tmp_path):
    model = load(save("pt"))
    model.load_adapter(save("dept", seed=1), adapter_name="second")
    model.save_pretrained(tmp_path / "out")
    again = load(tmp_path / "out")
    again.load_adapter(tmp_path / "out" / "second", adapter_name="second")
    for names in (["default"] * 6, ["second"] * 6):
        assert again.answer(pictures, QUESTIONS, names) == model.answer(pictures, QUESTIONS, names)
    for name in ("adapter_config.json", "adapter_model.safetensors", "README.md"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "pt" / name).read_bytes()


def test_a_model_without_a_default_saves_its_active_adapter_at_the_top(save, load, tmp_path):
    model = load(save("pt"), adapter_name="mine")
    model.save_pretrained(tmp_path / "out")
    assert read_adapter(tmp_path / "out").config == read_adapter(tmp_path / "pt").config
    model.delete_adapter("mine")
    with pytest.raises(UnknownAdapter, match="wanted at least one loaded adapter, given none"):
        model.save_pretrained(tmp_path / "out")


def test_push_to_hub_uploads_the_three_files(save, load, monkeypatch):
    calls = []

    class Api:
        def __init__(self, token=None):
            calls.append(("token", token))

        def create_repo(self, repo_id, **arguments):
            calls.append((repo_id, arguments))

        def upload_folder(self, *, repo_id, folder_path, **arguments):
            calls.append((repo_id, sorted(file.name for file in Path(folder_path).iterdir()), arguments))
            return "commit"

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    assert load(save()).push_to_hub("me/dept", private=True, token="t", commit_message="first") == "commit"
    assert calls == [
        ("token", "t"),
        ("me/dept", {"private": True, "exist_ok": True}),
        (
            "me/dept",
            ["README.md", "adapter_config.json", "adapter_model.safetensors"],
            {"commit_message": "first"},
        ),
    ]


def test_the_clip_is_found_under_another_folder(save, load, clip_folder, pictures, tmp_path):
    moved = write_tiny_clip(tmp_path / "moved")
    folder = save()
    assert load(folder, vision=moved).answer(pictures, QUESTIONS) == load(folder).answer(pictures, QUESTIONS)


def test_another_backbone_is_refused(save, load, tmp_path):
    other = write_tiny_t5(tmp_path / "other_t5", seed=1)
    message = r"wanted tiny_t5 \(sha256 \w{12}\) of width 32, given other_t5 \(sha256 \w{12}\) of width 32"
    with pytest.raises(MismatchedBackbone, match=message):
        AdaptedModel.from_pretrained(save(), backbone=other)
    wide = write_tiny_t5(tmp_path / "wide_t5", d_model=64)
    with pytest.raises(MismatchedBackbone, match="of width 32, given wide_t5 .* of width 64"):
        AdaptedModel.from_pretrained(save(), backbone=wide)


def test_another_clip_is_refused(save, load, tmp_path):
    other = write_tiny_clip(tmp_path / "other_clip", seed=1)
    with pytest.raises(MismatchedBackbone, match="another tower.*tiny_clip.*given local-dir:.*other_clip.*weights"):
        load(save(), vision=other)


def test_an_adapter_of_another_backbone_does_not_join(save, load, backbone):
    model = load(save("pt"))
    foreign = save("dept", backbone_identity=backbone.identity() | {"backbone_sha256": "0" * 64})
    with pytest.raises(MismatchedBackbone, match=r"wanted tiny_t5 \(sha256 0{12}\)"):
        model.load_adapter(foreign, adapter_name="other")
    assert list(model.adapters.loaded) == ["default"]


def test_a_backbone_that_is_not_found_says_how_to_name_it(save, monkeypatch):
    def missing(name, **arguments):
        raise MissingBackbone(f"{name}: wanted a folder")

    monkeypatch.setattr("dept_vl.serve.adapted.load_backbone", missing)
    with pytest.raises(MissingBackbone, match="tiny_t5: wanted a folder; backbone= gives its folder where its name"):
        AdaptedModel.from_pretrained(save())


def test_importing_the_package_loads_no_torch():
    code = "import sys, dept_vl; assert dept_vl.__all__ and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert dept_vl.AdaptedModel is AdaptedModel
    with pytest.raises(AttributeError, match="module 'dept_vl' has no attribute 'load_adaptor'"):
        _ = dept_vl.load_adaptor
