import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from dept_vl.vision.clip import FrozenClip, UnloadableClip

KINDS = ("resnet", "vit", "timm")
PLAIN = {"layer": -1, "pooling": "none", "resize": "squash"}
# The last layer's grid: patches and their width.
SHAPES = {"resnet": (9, 512), "vit": (16, 32), "timm": (100, 64)}


def draw_pixels(clip, batch=2, seed=0):
    return torch.randn(batch, 3, *clip.preprocess.size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", KINDS)
def test_any_tower_gives_the_grid_it_announces(load_clip, kind):
    clip = load_clip(kind)
    assert (clip.num_patches, clip.width) == SHAPES[kind]
    assert clip.grid(draw_pixels(clip)).shape == (2, *SHAPES[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_the_tower_is_frozen_and_stays_in_evaluation_mode(load_clip, kind):
    clip = load_clip(kind)
    pixels = draw_pixels(clip).requires_grad_()
    before = {name: tensor.clone() for name, tensor in clip.state_dict().items()}
    first = clip.grid(pixels)
    torch.nn.Sequential(clip).train()
    assert not any(module.training for module in clip.modules())
    assert torch.equal(clip.grid(pixels), first) and not first.requires_grad
    assert not any(p.requires_grad for p in clip.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in clip.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_has_the_same_grid_alone_and_in_a_batch(load_clip, kind):
    clip = load_clip(kind)
    pixels = draw_pixels(clip, batch=3)
    alone = torch.cat([clip.grid(pixels[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(clip.grid(pixels), alone, rtol=1e-4, atol=1e-4)


def test_resnet_layer_four_is_what_its_attention_pool_reads_row_by_row(load_clip):
    clip = load_clip("resnet", layer=4)
    pixels = draw_pixels(clip)
    read = []
    with torch.no_grad():
        clip.tower.attnpool.register_forward_pre_hook(lambda module, given: read.append(given[0]))
        clip.tower(pixels)
    grid = clip.grid(pixels)
    torch.testing.assert_close(grid[:, 1 * 3 + 2], read[0][:, :, 1, 2])
    torch.testing.assert_close(grid, read[0].flatten(2).transpose(1, 2))
    assert grid.min() == 0


def test_vit_last_layer_is_the_towers_own_normalised_tokens(load_clip):
    clip = load_clip("vit")
    pixels = draw_pixels(clip)
    clip.tower.output_tokens = True
    _, tokens = clip.tower(pixels)
    torch.testing.assert_close(clip.grid(pixels), tokens)


def test_timm_last_layer_is_the_trunks_own_features(load_clip):
    clip = load_clip("timm")
    pixels = draw_pixels(clip)
    tokens = clip.tower.trunk.forward_features(pixels)[:, clip.tower.trunk.num_prefix_tokens :]
    torch.testing.assert_close(clip.grid(pixels), tokens)


@pytest.mark.parametrize("kind, layers", [("resnet", 5), ("vit", 3)])
def test_a_negative_layer_counts_from_the_end(load_clip, kind, layers):
    first, last = load_clip(kind, layer=layers - 2), load_clip(kind, layer=-2)
    pixels = draw_pixels(first)
    assert torch.equal(first.grid(pixels), last.grid(pixels))
    assert first.identity() == last.identity() and last.identity()["vision_feature_layer"] == layers - 2
    assert first.grid(pixels).shape[2] != load_clip(kind).width or kind == "vit"


def test_layer_three_stacked_gives_nine_patches_of_four_cells(load_clip):
    cells, stacked = load_clip("resnet", layer=3), load_clip("resnet", layer=3, pooling="stack")
    assert (cells.num_patches, cells.width) == (36, 256)
    assert (stacked.num_patches, stacked.width) == (9, 1024)
    pixels = draw_pixels(cells)
    grid, four = cells.grid(pixels), stacked.grid(pixels)
    # Patch (row 1, column 2) of 3 x 3 holds cells (2, 4), (2, 5), (3, 4), (3, 5) of 6 x 6.
    assert torch.equal(four[:, 5], torch.cat([grid[:, cell] for cell in (16, 17, 22, 23)], dim=1))


def test_rn101_parity_preset_gives_36_patches_of_2048():
    clip = FrozenClip.load("RN101", layer=4, pooling="max", pool_size=6, resize="squash", random_weights=True)
    assert (clip.num_patches, clip.width, clip.preprocess.size) == (36, 2048, (224, 224))
    settings = clip.identity()["preprocessing"]
    assert (settings["resize_mode"], settings["interpolation"]) == ("squash", "bicubic")
    assert settings["mean"] == [0.48145466, 0.4578275, 0.40821073]
    assert settings["std"] == [0.26862954, 0.26130258, 0.27577711]
    pixels = draw_pixels(clip, batch=1)
    with torch.no_grad():
        grid = clip.tower.forward_intermediates(pixels, indices=[4], intermediates_only=True)
    [grid] = grid["image_intermediates"]
    assert grid.shape == (1, 2048, 7, 7)
    pooled = torch.nn.functional.max_pool2d(grid, kernel_size=2, stride=1)
    torch.testing.assert_close(clip.grid(pixels), pooled.flatten(2).transpose(1, 2))


def test_squash_keeps_the_whole_picture_and_model_crops_as_the_model_says(load_clip, tmp_path):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 200, 3), dtype=np.uint8))
    squash, model = load_clip("resnet").preprocess, load_clip("resnet", resize="model").preprocess
    mean, std = (torch.tensor(squash.settings[name])[:, None, None] for name in ("mean", "std"))

    def by_hand(image):
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        return (pixels - mean) / std

    wanted = by_hand(picture.resize((96, 96), Image.Resampling.BICUBIC))
    torch.testing.assert_close(squash(picture), wanted)
    cropped = picture.resize((240, 96), Image.Resampling.BICUBIC).crop((72, 0, 168, 96))
    torch.testing.assert_close(model(picture), by_hand(cropped))


def test_preprocess_travels_to_worker_processes(load_clip):
    preprocess = load_clip("vit", resize="model").preprocess
    picture = Image.new("RGB", (30, 20), "red")
    assert torch.equal(pickle.loads(pickle.dumps(preprocess))(picture), preprocess(picture))


def test_a_strip_that_would_fill_the_memory_is_refused(load_clip):
    strip = Image.new("RGB", (1, 200_000))
    with pytest.raises(ValueError, match="image of 1 x 200000 .* at most 100,000,000 .* resize='squash'"):
        load_clip("resnet", resize="model").preprocess(strip)
    assert load_clip("resnet").preprocess(strip).shape == (3, 96, 96)


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16])
def test_half_weights_are_loaded_as_fp32(copy_clip, stored):
    name = copy_clip(dtype=stored)
    clip = FrozenClip.load(name, **PLAIN)
    tensors = load_file(f"{name.removeprefix('local-dir:')}/open_clip_model.safetensors")
    assert clip.dtype == torch.float32 and tensors["visual.layer1.0.conv1.weight"].dtype == stored
    for key, tensor in clip.tower.state_dict().items():
        assert torch.equal(tensor, tensors[f"visual.{key}"].to(tensor.dtype))


def test_only_the_image_tower_is_kept(load_clip):
    names = load_clip("resnet").state_dict()
    assert names and all(name.startswith("tower.") for name in names)
    assert not any("token_embedding" in name or "text" in name for name in names)


def test_features_do_not_depend_on_an_autocast_region(load_clip):
    clip = load_clip("vit")
    pixels = draw_pixels(clip)
    with torch.autocast("cpu", torch.bfloat16):
        inside = clip.grid(pixels)
    assert torch.equal(inside, clip.grid(pixels))


def test_a_tower_can_run_in_bfloat16(load_clip):
    clip, exact = load_clip("resnet", dtype="bfloat16"), load_clip("resnet")
    pixels = draw_pixels(clip)
    features = clip.grid(pixels)
    assert features.dtype == torch.bfloat16
    # 8 bits of mantissa through about twenty layers.
    difference = (features.float() - exact.grid(pixels)).norm() / exact.grid(pixels).norm()
    assert 0 < difference < 20 * 2**-8


def test_loading_does_not_move_the_random_stream(load_clip):
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    load_clip("vit")
    FrozenClip.load("RN50", **PLAIN, random_weights=True)
    assert torch.equal(torch.rand(4), wanted)


def test_identity_follows_content_and_nothing_else(load_clip, copy_clip):
    identity = load_clip("resnet").identity()
    assert identity["vision_pretrained"] is None and identity["vision_model_name"].startswith("local-dir:")
    moved = FrozenClip.load(copy_clip(name="moved"), **PLAIN).identity()
    assert moved.pop("vision_model_name") != identity.pop("vision_model_name")
    assert moved == identity

    def scale(tensors):
        tensors["visual.conv1.weight"][0, 0, 0, 0] += 1e-3

    changes = {
        "vision_weights_sha256": FrozenClip.load(copy_clip(name="weights", weights=scale), **PLAIN),
        "vision_feature_layer": load_clip("resnet", layer=3),
        "vision_pooling": load_clip("resnet", pooling="max", pool_size=3),
        "vision_dtype": load_clip("resnet", dtype="bfloat16"),
        "preprocessing": load_clip("resnet", resize="model"),
        "vision_config_sha256": FrozenClip.load(
            copy_clip(name="config", config=lambda c: c["model_cfg"].update(quick_gelu=True)), **PLAIN
        ),
    }
    for field, clip in changes.items():
        changed = {name for name, value in clip.identity().items() if identity.get(name, value) != value}
        assert changed == {field} | ({"vision_pool_size"} if field == "vision_pooling" else set()), field


def test_storing_the_same_weights_in_another_dtype_keeps_their_hash(copy_clip):
    def round_to_half(tensors):
        for key, tensor in tensors.items():
            if tensor.is_floating_point():
                tensors[key] = tensor.half().float()

    exact = FrozenClip.load(copy_clip(name="fp32", weights=round_to_half), **PLAIN).identity()
    half = FrozenClip.load(copy_clip(name="fp16", dtype=torch.float16), **PLAIN).identity()
    assert exact["vision_weights_sha256"] == half["vision_weights_sha256"]


def test_openai_tags_get_the_activation_they_were_trained_with(monkeypatch):
    asked = {}

    def create_model(name, **arguments):
        asked.update(arguments)
        raise RuntimeError("no network in tests")

    monkeypatch.setattr(open_clip, "create_model", create_model)
    with pytest.raises(UnloadableClip, match="tag 'openai', where .* no network in tests. Wanted"):
        FrozenClip.load("ViT-B-32", "openai", **PLAIN)
    assert asked["force_quick_gelu"] and asked["require_pretrained"] and asked["pretrained"] == "openai"


@pytest.mark.parametrize(
    "name, arguments, message",
    [
        (
            "RN101",
            {},
            "'RN101' without a tag would have random weights: wanted an open_clip name",
        ),
        ("RN11", {"pretrained": "openai"}, "'RN11' is no open_clip model: wanted .* Did you mean 'RN101'"),
        ("RN101", {"pretrained": "opnai"}, "tag 'opnai', where loading failed with: .*opnai"),
        ("RN101", {"pretrained": "openai", "random_weights": True}, "wants no tag, given 'openai'"),
        (
            "local-dir:/nowhere",
            {"pretrained": "openai"},
            "own weights: wanted no tag, given 'openai'",
        ),
        ("local-dir:/nowhere", {}, "'local-dir:/nowhere'.* failed with: .*not found"),
    ],
)
def test_what_cannot_be_loaded_is_refused(name, arguments, message):
    with pytest.raises(UnloadableClip, match=message):
        FrozenClip.load(name, **arguments, **PLAIN)


@pytest.mark.parametrize("file", ["open_clip_model.safetensors", "open_clip_config.json"])
def test_a_clip_cut_short_or_without_a_file_is_refused(copy_clip, file):
    name = copy_clip()
    path = Path(name.removeprefix("local-dir:")) / file
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UnloadableClip, match=f"{name}.* where loading failed with: "):
        FrozenClip.load(name, **PLAIN)
    path.unlink()
    with pytest.raises(UnloadableClip, match=f"{name}.* where loading failed with: "):
        FrozenClip.load(name, **PLAIN)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"layer": 5}, "layer: wanted -5 to 4 for this tower, given 5"),
        ({"layer": -6}, "layer: wanted -5 to 4 for this tower, given -6"),
        ({"pooling": "stack"}, "wanted a grid with even sides, given 3 x 3"),
        ({"resize": "crop"}, "resize: wanted one of squash, model, given 'crop'"),
        ({"dtype": "int8"}, "dtype: wanted one of float32, bfloat16, float16, given 'int8'"),
    ],
)
def test_impossible_readings_are_refused(load_clip, arguments, message):
    with pytest.raises(ValueError, match=message):
        load_clip("resnet", **arguments)


def test_pixels_of_another_size_are_refused(load_clip):
    with pytest.raises(ValueError, match="pixels: wanted 96 x 96, as tower.preprocess .*, given 224 x 224"):
        load_clip("resnet").grid(torch.zeros(1, 3, 224, 224))


@pytest.mark.slow
def test_loading_leaves_the_threads_of_tokenizers_on():
    """In a new process: open_clip switches them off when it is imported first."""
    program = (
        "import os\n"
        "from dept_vl.vision import FrozenClip\n"
        "FrozenClip.load('tiny-clip', layer=4, pooling='none', resize='squash')\n"
        "assert 'open_clip' in __import__('sys').modules and 'TOKENIZERS_PARALLELISM' not in os.environ\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "TOKENIZERS_PARALLELISM"}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
