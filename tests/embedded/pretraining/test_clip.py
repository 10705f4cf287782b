import json
import random

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dept_vl.embedded.pretraining import clip
from dept_vl.embedded.pretraining.clip import (
    CONTEXT_LENGTH,
    ClipRecipe,
    clip_config,
    full_description,
    save_clip,
    score_clip,
    tiny_clip,
    to_ids,
    to_pixels,
    train_clip,
)
from dept_vl.embedded.shapes.render import render
from dept_vl.embedded.shapes.text_rows import tell
from dept_vl.embedded.shapes.world import CELLS, COLORS, SHAPES, SIZES, held_out, sample_scene
from dept_vl.vision import FrozenClip
from tests.scene_reading import place, told

QUICK = ClipRecipe(steps=3, batch_size=8, warmup_steps=2, log_every=1)


def build(tokenizer) -> open_clip.CLIP:
    """`tiny_clip` with a tower of half the width and one text layer."""
    config = clip_config(len(tokenizer))["model_cfg"]
    text = {key: value for key, value in config["text_cfg"].items() if key != "hf_tokenizer_name"}
    torch.manual_seed(0)
    return open_clip.CLIP(
        32,
        open_clip.CLIPVisionCfg(**{**config["vision_cfg"], "width": 8}),
        open_clip.CLIPTextCfg(**{**text, "width": 32, "heads": 2, "layers": 1}),
    )


def some_scenes(number: int, *, wanted_held_out: bool = False):
    rng = random.Random("some")
    return [sample_scene(rng, wanted_held_out=wanted_held_out) for _ in range(number)]


@pytest.fixture
def unscored(monkeypatch):
    """Scores are tested by themselves: 600 pictures are most of a short training's time."""
    monkeypatch.setattr(clip, "score_clip", lambda *_: {"recall@1": 0.5})


@pytest.fixture(scope="module")
def shipped_layout(tokenizer, tmp_path_factory):
    """tiny-clip untrained but for its batch statistics, saved as it is shipped: (model, folder)."""
    torch.manual_seed(0)
    model, folder = tiny_clip(len(tokenizer)), tmp_path_factory.mktemp("saved") / "tiny-clip"
    model.train()
    with torch.no_grad():
        model.encode_image(to_pixels(some_scenes(16)))
    save_clip(model.eval(), tokenizer, folder)
    return model, folder


def test_three_steps_run_and_are_deterministic(tokenizer, unscored):
    runs = []
    for _ in range(2):
        model, log = build(tokenizer), []
        assert train_clip(model, tokenizer, QUICK, log.append) == {"recall@1": 0.5}
        records = [json.loads(line) for line in log]
        assert [record["step"] for record in records] == [1, 2, 3]
        runs.append((model.state_dict(), [record["loss"] for record in records]))
    start = build(tokenizer).state_dict()
    assert any(not torch.equal(start[name], weight) for name, weight in runs[0][0].items())
    assert runs[0][1] == runs[1][1]
    assert all(torch.equal(weight, runs[1][0][name]) for name, weight in runs[0][0].items())


def test_the_loss_falls(tokenizer, unscored):
    log = []
    recipe = ClipRecipe(steps=16, batch_size=8, learning_rate=3e-3, warmup_steps=4, log_every=4)
    train_clip(build(tokenizer), tokenizer, recipe, log.append)
    first, last = (json.loads(log[index])["loss"] for index in (0, -1))
    assert last < first - 0.2


def test_training_never_shows_a_held_out_scene_siblings_included(tokenizer, unscored, none_held_out, monkeypatch):
    shown, batches = [], []

    def watched(scenes):
        shown.extend(scenes)
        batches.append([scene.key() for scene in scenes])
        return to_pixels(scenes)

    monkeypatch.setattr(clip, "to_pixels", watched)
    train_clip(build(tokenizer), tokenizer, QUICK, lambda _: None)
    assert len(shown) == 3 * 8 and none_held_out(shown)
    for keys in batches:
        pairs = zip(keys[:4], keys[4:], strict=True)
        assert all(one != other for one, other in pairs)


@given(st.integers(0, 2**32))
def test_a_pretraining_sibling_is_another_scene_and_not_held_out(seed):
    rng = random.Random(seed)
    scene = sample_scene(rng, wanted_held_out=False)
    other = clip._pretraining_sibling(scene, rng)
    assert other.key() != scene.key() and not held_out(other)


def test_scores_are_shares_on_held_out_scenes_alone(tokenizer, watch_scenes):
    seen, model = watch_scenes(clip), build(tokenizer).train()
    scores = score_clip(model, tokenizer)
    assert len(seen) == 600 and all(map(held_out, seen)) and model.training
    probes = {f"{layer}_{name}" for layer in ("layer3", "layer4") for name in ("shape", "color", "size")}
    assert set(scores) == {"recall@1", *probes} and all(0 <= score <= 1 for score in scores.values())


def test_the_probe_reads_what_is_there_and_guesses_what_is_not():
    scenes = some_scenes(300)
    exact, noise = torch.zeros(300, CELLS, 12), torch.randn(300, CELLS, 12, generator=torch.Generator().manual_seed(0))
    for row, scene in enumerate(scenes):
        for thing in scene.things:
            for offset, values, value in (
                (0, SHAPES, thing.shape), (4, COLORS, thing.color), (10, SIZES, thing.size)
            ):  # fmt: skip
                exact[row, thing.cell, offset + values.index(value)] = 1
    assert clip._probe(exact, scenes) == {"shape": 1.0, "color": 1.0, "size": 1.0}
    guessed = clip._probe(noise, scenes)
    assert guessed["shape"] < 0.4 and guessed["color"] < 0.3 and guessed["size"] < 0.62


def test_a_description_says_everything_in_the_words_of_pretraining():
    rng = random.Random("descriptions")
    for scene in some_scenes(200):
        text = full_description(scene, rng)
        assert not text.lower().startswith(("vqa", "caption"))
        said = told(text)
        assert {(color, shape, where) for _, color, shape, where in said if where} == {
            (thing.color, thing.shape, place(thing)) for thing in scene.things
        }
        assert [size for size, *_ in said if size] and scene.ground in text


def test_the_share_of_cut_descriptions_is_the_one_on_the_card(tokenizer):
    """A known limit of the stored tiny-clip: its text tower has 48 tokens."""
    rng = random.Random("lengths")
    scenes = some_scenes(400)
    cut = sum(len(tokenizer(full_description(scene, rng))["input_ids"]) > CONTEXT_LENGTH for scene in scenes) / 400
    assert 0.10 < cut < 0.22  # the card says 16 %
    assert max(len(tokenizer(tell(scene, rng))["input_ids"]) for scene in scenes) <= CONTEXT_LENGTH


def test_pixels_equal_those_that_open_clip_makes_of_the_picture(shipped_layout):
    scenes, (_, folder) = some_scenes(3), shipped_layout
    frozen = load(folder)
    theirs = torch.stack([frozen.preprocess(render(scene)) for scene in scenes])
    torch.testing.assert_close(to_pixels(scenes), theirs, rtol=0, atol=1e-5)


def load(folder, layer: int = 4) -> FrozenClip:
    return FrozenClip.load(f"local-dir:{folder}", layer=layer, pooling="none", resize="squash")


def test_a_saved_clip_loads_as_a_frozen_one_with_the_same_grid(shipped_layout):
    model, folder = shipped_layout
    frozen, pixels = load(folder), to_pixels(some_scenes(2))
    assert (frozen.num_patches, frozen.width) == (CELLS, 512)
    with torch.no_grad():
        layers = model.visual.forward_intermediates(pixels, indices=[4], intermediates_only=True)
    grid = layers["image_intermediates"][0].flatten(2).transpose(1, 2)
    assert grid.std() > 0.01
    torch.testing.assert_close(frozen.grid(pixels), grid, rtol=0.02, atol=0.02 * float(grid.abs().max()))


def test_open_clip_loads_both_towers_and_the_tokenizer_of_a_saved_clip(shipped_layout, tokenizer):
    model, folder = shipped_layout
    loaded = open_clip.create_model(f"local-dir:{folder}").eval()
    weights = model.state_dict()
    assert set(weights) == set(loaded.state_dict())
    for name, weight in loaded.state_dict().items():
        half = weights[name].half().float() if weights[name].is_floating_point() else weights[name]
        assert torch.equal(weight, half), name
    texts = ["small RED circle at the top left; dark background.", "Don't cut é"]
    ids = open_clip.get_tokenizer(f"local-dir:{folder}")(texts)
    assert np.array_equal(ids.numpy(), to_ids(tokenizer, texts).numpy()) and ids.shape == (2, CONTEXT_LENGTH)
    with torch.no_grad():
        torch.testing.assert_close(loaded.encode_text(ids), model.encode_text(ids), rtol=0.05, atol=0.02)


def test_the_text_tower_reads_the_end_token_not_the_pads(shipped_layout, tokenizer):
    model, _ = shipped_layout
    ids = to_ids(tokenizer, ["red circle"])
    end = int((ids == tokenizer.eos_token_id).nonzero()[0, 1])
    changed, behind = ids.clone(), ids.clone()
    changed[0, end - 1], behind[0, end + 3] = ids[0, 0], ids[0, 0]
    with torch.no_grad():
        plain, other, pads = (model.encode_text(each) for each in (ids, changed, behind))
    assert torch.equal(plain, pads) and not torch.allclose(plain, other)
