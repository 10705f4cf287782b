"""The laws of a tower, over every kind of it."""

import pickle

import numpy as np
import open_clip
import pytest
import timm
import torch
import transformers
from PIL import Image

from dept_vl.untrusted.bad_file import BadFile
from dept_vl.vision import UnloadableTower, build_tower, extract, with_source
from dept_vl.vision.build import BadTower
from dept_vl.vision.tower import Tower
from tests.tiny_models import write_tiny_clip
from tests.vision.tiny_towers import (
    PATCH,
    SIDE,
    TRANSFORMERS,
    WIDTH,
    noise,
    one_bright_cell,
    write_timm_weights,
    write_tower,
)

TIMM = {"vit": "test_vit", "resnet": "test_resnet", "efficientnet": "test_efficientnet"}
EVERY = [f"transformers {kind}" for kind in TRANSFORMERS] + [f"timm {kind}" for kind in TIMM] + ["open_clip", "pair"]


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("towers")
    found = {kind: write_tower(kind, place / kind) for kind in TRANSFORMERS}
    found |= {name: write_timm_weights(name, place / f"{name}.safetensors") for name in TIMM.values()}
    return found | {"open_clip": write_tiny_clip(place / "tiny_clip")}


@pytest.fixture(scope="session")
def settings(folders):
    """The settings of a tower by its name in EVERY, changed."""

    def settings(name, **changes):
        kind, _, model = name.partition(" ")
        if name == "pair":
            second = settings("transformers dinov2", layer=-2)
            return settings("open_clip", layer=2, second=second) | changes
        if kind == "open_clip":
            return {"model_name": f"local-dir:{folders['open_clip']}", "layer": 2, **changes}
        if kind == "timm":
            return {"kind": kind, "model_name": TIMM[model], "weights": str(folders[TIMM[model]]), **changes}
        return {"kind": kind, "model_name": str(folders[model]), **changes}

    return settings


@pytest.fixture(scope="session")
def build(settings):
    """A tower by its name in EVERY; those without changes are built once."""
    built = {}

    def build(name, **changes):
        if changes:
            return build_tower(settings(name, **changes))
        if name not in built:
            built[name] = build_tower(settings(name))
        return built[name]

    return build


@pytest.fixture(params=EVERY)
def tower(request, build):
    return build(request.param)


def pixels_of(tower, *pictures):
    return torch.stack([tower.preprocess(picture) for picture in pictures])


def test_a_tower_gives_the_grid_it_announces(tower):
    assert isinstance(tower, Tower) and tower.batch_size == 128
    grid = tower.grid(pixels_of(tower, noise(), noise(seed=1)))
    assert grid.shape == (2, tower.num_patches, tower.width) and grid.isfinite().all()
    assert tower.grid_shape[0] * tower.grid_shape[1] == tower.num_patches
    assert not torch.allclose(grid[0], grid[1])


def test_batch_mates_change_nothing(tower):
    pixels = pixels_of(tower, noise(), noise(90, 30, seed=1), noise(seed=2))
    alone = torch.cat([tower.grid(pixels[row : row + 1]) for row in range(3)])
    torch.testing.assert_close(tower.grid(pixels), alone, rtol=1e-4, atol=1e-4)


def test_a_tower_is_frozen_and_stays_in_evaluation_mode(tower):
    pixels = pixels_of(tower, noise()).requires_grad_()
    torch.nn.Sequential(tower).train()
    first = tower.grid(pixels)
    assert not any(module.training for module in tower.modules()) and not first.requires_grad
    assert not any(weight.requires_grad for weight in tower.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(tower.grid(pixels), first)


@pytest.mark.parametrize("name", [each for each in EVERY if each.startswith(("transformers", "timm vit", "pair"))])
def test_a_bright_cell_lights_up_its_own_patch(build, name):
    """Row-major order: a patch's own pixels reach it directly, all others through the residual stream."""
    tower = build(name, layer=0) if name != "pair" else build(name)
    if name == "pair":
        tower = tower.second
    side, cells = tower.preprocess.size[0], tower.grid_shape[1]
    grey = tower.grid(pixels_of(tower, Image.new("RGB", (side, side), (127, 127, 127))))
    for row, column in ((0, 1), (2, 0), (cells - 1, cells - 2)):
        lit = tower.grid(pixels_of(tower, one_bright_cell(side, cells, row, column)))
        assert int((lit - grey).norm(dim=2).argmax()) == row * cells + column, (row, column)


def test_a_cnn_has_its_stages_row_by_row(build):
    tower = build("timm resnet", layer=[0, -1], joined="tokens")
    grids = timm.create_model("test_resnet", pretrained=False)  # for its shapes alone
    pixels = pixels_of(tower, noise())
    maps = tower.maps(pixels, None)
    assert [each.shape for each in maps] == [each.shape for each in grids.forward_intermediates(pixels)[1]]
    grid, first, last = tower.grid(pixels), maps[0].shape[3], maps[-1].shape[3]
    torch.testing.assert_close(grid[0, 2 * first + 5, : maps[0].shape[1]], maps[0][0, :, 2, 5])
    torch.testing.assert_close(grid[0, first**2 + last + 1, maps[0].shape[1] :], maps[-1][0, :, 1, 1])


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_the_last_layer_is_the_librarys_own_output_behind_its_final_norm(build, folders, kind):
    tower = build(f"transformers {kind}")
    pixels = pixels_of(tower, noise(), noise(seed=1))
    model = {"clip": transformers.CLIPModel, "siglip": transformers.SiglipModel}.get(kind, transformers.AutoModel)
    model = model.from_pretrained(folders[kind]).eval()
    model = model.vision_model if kind in ("clip", "siglip") else model
    given = {"pixel_values": pixels}
    if kind == "siglip2":
        processor = transformers.Siglip2ImageProcessor.from_pretrained(folders[kind])
        pictures = [noise().resize((SIDE, SIDE)), noise(seed=1).resize((SIDE, SIDE))]
        given = processor(pictures, return_tensors="pt")
        pixels = pixels_of(tower, *pictures)
    with torch.no_grad():
        tokens = model(**given).last_hidden_state
        tokens = model.post_layernorm(tokens) if kind == "clip" else tokens
    torch.testing.assert_close(tower.grid(pixels), tokens[:, -tower.num_patches :], rtol=1e-4, atol=1e-4)
    assert tower.identity()["vision_normalized"] and (tower.num_patches, tower.width) == ((SIDE // PATCH) ** 2, WIDTH)


def test_timm_last_layer_is_the_networks_own_features(build, folders):
    tower = build("timm vit")
    own = timm.create_model("test_vit", pretrained=False, checkpoint_path=str(folders["test_vit"])).eval()
    pixels = pixels_of(tower, noise())
    with torch.no_grad():
        torch.testing.assert_close(tower.grid(pixels), own.forward_features(pixels)[:, own.num_prefix_tokens :])


@pytest.mark.parametrize("kind", [kind for kind in TRANSFORMERS if kind != "siglip2"])
@pytest.mark.parametrize("resize", ["squash", "model"])
def test_transformers_preprocessing_is_the_processors_own(settings, folders, kind, resize):
    own = transformers.AutoImageProcessor.from_pretrained(folders[kind])
    tower, picture = build_tower(settings(f"transformers {kind}", resize=resize)), noise(70, 45)
    if resize == "squash":
        own.size, own.do_center_crop = {"height": SIDE, "width": SIDE}, False
    wanted = own(picture, return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(tower.preprocess(picture), wanted, rtol=0, atol=1e-3)
    assert tower.identity()["preprocessing"]["resize_mode"] == resize


def test_a_square_picture_has_the_pixels_of_siglip2s_processor(build, folders):
    tower, picture = build("transformers siglip2"), noise(64, 64)
    own = transformers.Siglip2ImageProcessor.from_pretrained(folders["siglip2"])
    patches = own(picture, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(tower._inputs(pixels_of(tower, picture))["pixel_values"], patches, rtol=0, atol=1e-3)
    with pytest.raises(ValueError, match="resize: wanted 'squash' for a SigLIP 2 .* given 'model'"):
        build("transformers siglip2", resize="model")


@pytest.mark.parametrize("resize", ["squash", "model"])
def test_timm_preprocessing_is_timms_own(build, resize):
    tower, picture = build("timm resnet", resize=resize), noise(300, 200)
    network = timm.create_model("test_resnet", pretrained=False)
    own = timm.data.resolve_model_data_config(network)
    if resize == "squash":
        own |= {"crop_mode": "squash", "crop_pct": 1.0}
    torch.testing.assert_close(tower.preprocess(picture), timm.data.create_transform(**own)(picture), rtol=0, atol=1e-3)


def test_preprocessing_travels_to_worker_processes(tower):
    copy = pickle.loads(pickle.dumps(tower.preprocess))
    assert torch.equal(copy(noise()), tower.preprocess(noise())) and copy.settings == tower.preprocess.settings


def test_a_processor_without_one_size_is_refused(tmp_path):
    folder = write_tower("dinov2", tmp_path)
    transformers.BitImageProcessor(size={"shortest_edge": SIDE}, do_center_crop=False).save_pretrained(folder)
    settings = {"kind": "transformers", "model_name": str(folder)}
    with pytest.raises(ValueError, match="resize: wanted 'squash', as this model's processor makes .* given 'model'"):
        build_tower(settings | {"resize": "model"})
    assert build_tower(settings).preprocess.size == (SIDE, SIDE)


def test_identity_names_what_the_features_depend_on(tower, request, settings):
    identity = tower.identity()
    name = request.node.callspec.params["tower"]
    assert identity["vision_kind"] == settings(name).get("kind", "open_clip")
    assert len(identity["vision_weights_sha256"]) == len(identity["vision_config_sha256"]) == 64
    assert identity["preprocessing"]["resize_mode"] == "squash" and isinstance(identity["vision_feature_layer"], int)
    if name in ("transformers vit", "timm vit", "pair"):
        assert build_tower(settings(name)).identity() == identity  # nothing in it is drawn at random


def test_a_whole_model_and_its_tower_alone_are_the_same_tower(folders, tmp_path):
    transformers.CLIPVisionModel.from_pretrained(folders["clip"]).save_pretrained(tmp_path)
    transformers.AutoImageProcessor.from_pretrained(folders["clip"]).save_pretrained(tmp_path)
    whole, alone = (
        build_tower({"kind": "transformers", "model_name": str(place)}).identity()
        for place in (folders["clip"], tmp_path)
    )
    assert whole.pop("vision_model_name") != alone.pop("vision_model_name") and whole == alone


def test_the_layers_of_a_tower_join_by_width_or_by_tokens(build):
    first, last = build("timm efficientnet", layer=-2), build("timm efficientnet", layer=-1)
    pooled = {"pooling": "avg", "pool_size": 4}
    wide = build("timm efficientnet", layer=[-1, -2], **pooled)
    long = build("timm efficientnet", layer=[-1, -2], joined="tokens", **pooled)
    pixels = pixels_of(wide, noise())
    parts = [build("timm efficientnet", layer=layer, **pooled).grid(pixels) for layer in (-1, -2)]
    assert torch.equal(wide.grid(pixels), torch.cat(parts, dim=2)) and wide.num_patches == 16
    assert (wide.width, long.num_patches, long.grid_shape) == (last.width + first.width, 32, None)
    grid = long.grid(pixels)
    assert torch.equal(grid[:, :16, : last.width], parts[0]) and torch.equal(grid[:, 16:, last.width :], parts[1])
    assert not grid[:, :16, last.width :].any() and not grid[:, 16:, : last.width].any()
    assert wide.identity()["vision_feature_layer"][0] == last.identity()["vision_feature_layer"]
    with pytest.raises(ValueError, match="joined 'width': wanted grids of one size, given .*: pool them"):
        build("timm efficientnet", layer=[-1, -2])
    assert build("timm efficientnet", layer=[-1]).identity() == last.identity()


def test_two_towers_stand_side_by_side(build, settings):
    pair, first = build("pair"), build("open_clip")
    second = build("transformers dinov2", layer=-2)
    assert (pair.width, pair.num_patches) == (first.width + second.width, 16)
    picture = noise()
    wanted = [tower.grid(pixels_of(tower, picture)) for tower in (first, second)]
    assert torch.equal(pair.grid(pixels_of(pair, picture)), torch.cat(wanted, dim=2))
    assert pair.identity() == {**first.identity(), "vision_second": second.identity()}
    with pytest.raises(ValueError, match="pixels: wanted 6 x 32 x 32, .* given 3 x 32 x 32"):
        pair.grid(pixels_of(first, picture))
    with pytest.raises(ValueError, match="vision.second: wanted the grid of the first tower, 4 x 4, given 2 x 2"):
        build("open_clip", second=settings("transformers vit", pooling="stack"))


def test_a_larger_second_tower_reads_its_own_pixels(build, settings):
    pair = build("open_clip", second=settings("timm resnet", pooling="max", pool_size=4))
    assert pair.preprocess.size == (160, 160)
    picture = noise(200, 180)
    wanted = [tower.grid(pixels_of(tower, picture)) for tower in (pair.first, pair.second)]
    assert torch.equal(pair.grid(pixels_of(pair, picture)), torch.cat(wanted, dim=2))


@pytest.mark.parametrize("name", ["transformers siglip", "timm efficientnet", "pair"])
def test_stored_features_are_direct_features(build, tmp_path, name):
    tower, images = build(name), {}
    for number in range(3):
        images[f"{number}.png"] = tmp_path / f"{number}.png"
        noise(seed=number).save(images[f"{number}.png"])
    store = extract(tower, images, tmp_path / "store")
    direct = tower.grid(pixels_of(tower, *(Image.open(path) for path in images.values())))
    torch.testing.assert_close(store.gather(list(images)).float(), direct, rtol=2**-10, atol=1e-3)


@pytest.mark.parametrize("form", ["x.safetensors", "x.pth", "legacy.pth", "renamed.pth"])
def test_timm_weights_come_from_a_file(build, tmp_path, form):
    wanted = build("timm efficientnet").identity()
    rename = "other." if "renamed" in form else None
    path = write_timm_weights("test_efficientnet", tmp_path / form, rename=rename, legacy="legacy" in form)
    settings = {"kind": "timm", "model_name": "test_efficientnet", "weights": str(path)}
    if rename:
        with pytest.warns(UserWarning, match="renamed.pth: none of its .* names is timm's, .* taken in their order"):
            tower = build_tower(settings)
    else:
        tower = build_tower(settings)
    assert tower.identity() == wanted | {"vision_weights_file": str(path)}


def test_a_record_of_a_tower_finds_it_in_another_place(settings, folders, tmp_path):
    moved = write_tower("vit", tmp_path / "moved")
    found = build_tower(with_source(settings("transformers vit"), moved)).identity()
    assert found["vision_model_name"] == str(moved)
    path = write_timm_weights("test_vit", tmp_path / "moved.pth")
    assert build_tower(with_source(settings("timm vit"), path)).identity()["vision_weights_file"] == str(path)
    named = {"model_name": "RN50", "pretrained": "openai"}
    assert with_source(named, folders["open_clip"])["model_name"] == f"local-dir:{folders['open_clip']}"
    assert with_source(named, folders["open_clip"])["pretrained"] is None
    assert with_source(named, "RN101") == {"model_name": "RN101", "pretrained": "openai"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "torchvision"}, "vision.kind: wanted one of open_clip, transformers, timm, given 'torchvision'"),
        ({"kind": "tim"}, "given 'tim'. Did you mean 'timm'"),
        ({"model_name": None}, "vision.model_name: wanted a name, given None"),
        ({"weights": "x.pth"}, "vision.weights: wanted null for a tower of open_clip, given 'x.pth'"),
        (
            {"kind": "timm", "pretrained": "openai"},
            "vision.pretrained: wanted null for a tower of timm, given 'openai'",
        ),
        ({"second": {"model_name": "x", "second": {"model_name": "y"}}}, "wanted two towers, given a third"),
        ({"second": {"layer": 3}}, "vision.model_name: wanted a name, given None"),
        ({"size": 3}, "given size"),
    ],
)
def test_settings_that_no_tower_has_are_refused_before_anything_is_loaded(monkeypatch, changes, message):
    monkeypatch.setattr(open_clip, "create_model", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(BadTower, match=message):
        build_tower({"model_name": "tiny-clip", **changes})


def test_what_is_no_network_is_refused(tmp_path, folders):
    def refused(message, **settings):
        with pytest.raises((UnloadableTower, BadFile), match=message):
            build_tower(settings)

    refused("'resnet5' is no network of timm: .* Did you mean 'resnet50", kind="timm", model_name="resnet5")
    refused("nowhere: wanted a folder with config.json", kind="transformers", model_name=str(tmp_path / "nowhere"))
    config = transformers.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    config.save_pretrained(tmp_path / "bert")
    refused(
        "type of an image tower: wanted one of clip, .* given 'bert'",
        kind="transformers",
        model_name=str(tmp_path / "bert"),
    )
    broken = write_tower("vit", tmp_path / "vit")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])
    refused("vit: wanted a folder with", kind="transformers", model_name=str(broken))
    of_another = str(folders["test_vit"])
    refused(
        r"test_vit.safetensors: wanted \d+ weights named as timm's", kind="timm", model_name="test_resnet",
        weights=of_another,
    )  # fmt: skip
    renamed = write_timm_weights("test_resnet", tmp_path / "renamed.safetensors", rename="other.")
    refused("renamed.safetensors: wanted .* or, in a .pth, of their shapes", kind="timm", model_name="test_resnet",
            weights=str(renamed))  # fmt: skip
    refused("none.pth: wanted a file of weights, given no such file", kind="timm", model_name="test_vit",
            weights=str(tmp_path / "none.pth"))  # fmt: skip


def test_missing_weights_are_refused_not_drawn(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = write_tower("dinov2", tmp_path)
    state = load_file(folder / "model.safetensors")
    del state["layernorm.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        UnloadableTower, match="wanted files with every weight of a Dinov2Model, given .*layernorm.weight"
    ):
        build_tower({"kind": "transformers", "model_name": str(folder)})


def test_loading_does_not_move_the_random_stream(settings):
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    for name in ("transformers vit", "timm vit"):
        build_tower(settings(name))
    assert torch.equal(torch.rand(4), wanted)


def test_a_strip_that_would_fill_the_memory_is_refused(build):
    strip = Image.fromarray(np.zeros((1, 200_000, 3), dtype=np.uint8))
    for name in ("transformers clip", "timm resnet"):
        with pytest.raises(ValueError, match="image of 200000 x 1 .* resize='squash'"):
            build(name, resize="model").preprocess(strip)
        assert build(name).preprocess(strip).isfinite().all()
