import pytest

from dept_vl.saved import MismatchedBackbone, check_identity, read_adapter, tower_of


@pytest.fixture
def config(make_adapter, save):
    return read_adapter(save(make_adapter())).config


def test_the_models_it_was_made_for_pass(config, backbone_identity, vision_identity):
    check_identity(config, backbone_identity, vision_identity, d_model=8)


def test_names_and_compute_types_do_not_decide(config, backbone_identity, vision_identity):
    moved = backbone_identity | {"base_model_name_or_path": "copy-of-t5", "revision": None}
    seen = vision_identity | {"vision_model_name": "local-dir:/elsewhere", "vision_dtype": "float16"}
    seen["preprocessing"] = seen["preprocessing"] | {"size": (224, 224)}  # a tuple before it is written
    check_identity(config, moved, seen, d_model=8)


def test_another_backbone(config, backbone_identity, vision_identity):
    other = backbone_identity | {"base_model_name_or_path": "tiny-t5", "revision": None, "backbone_sha256": "d" * 64}
    message = (
        r"another backbone: wanted google-t5/t5-base at main \(sha256 a{12}\) of width 8, "
        r"given tiny-t5 \(sha256 d{12}\) of width 8"
    )
    with pytest.raises(MismatchedBackbone, match=message):
        check_identity(config, other, vision_identity, d_model=8)


def test_another_width(config, backbone_identity, vision_identity):
    with pytest.raises(MismatchedBackbone, match="wanted .* of width 8, given .* of width 1024"):
        check_identity(config | {"backbone_sha256": None}, backbone_identity, vision_identity, d_model=1024)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vision_weights_sha256": "e" * 64}, "wanted weights c{12}, given e{12}"),
        ({"vision_config_sha256": "e" * 64}, "wanted config b{12}, given e{12}"),
        ({"vision_feature_layer": 3}, "wanted layer 4, given 3"),
        (
            {"vision_pooling": "stack", "vision_pool_size": None},
            "wanted pooling max, given stack; wanted pool size 6, given None",
        ),
        ({"vision_normalized": True}, "wanted final norm False, given True"),
        ({"preprocessing": {"resize_mode": "shortest"}}, r"wanted preprocessing \{.*squash.*given \{.*shortest"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_another_clip_or_other_features_of_it(config, backbone_identity, vision_identity, change, message):
    other = vision_identity | {"vision_model_name": "RN50"} | change
    with pytest.raises(MismatchedBackbone, match=rf"another tower.*RN101 \(openai\).*given RN50.*{message}"):
        check_identity(config, backbone_identity, other, d_model=8)


def test_no_clip_for_an_adapter_that_reads_images(config, backbone_identity):
    with pytest.raises(MismatchedBackbone, match=r"wanted the tower RN101 \(openai\) .*, given no tower"):
        check_identity(config, backbone_identity, None, d_model=8)


def test_a_text_adapter_goes_with_any_clip(make_adapter, save, backbone_identity, vision_identity):
    config = read_adapter(save(make_adapter(), visual=False)).config
    check_identity(config, backbone_identity, vision_identity, d_model=8)
    check_identity(config, backbone_identity, None, d_model=8)


SECOND = {
    "vision_kind": "timm", "vision_model_name": "test_vit", "vision_pretrained": None, "vision_config_sha256": "1" * 64,
    "vision_weights_sha256": "2" * 64, "vision_weights_file": "here.pth", "vision_feature_layer": [1, 2],
    "vision_normalized": True, "vision_pooling": "none", "vision_pool_size": None, "vision_joined": "width",
    "vision_dtype": "float32", "preprocessing": {"resize_mode": "center"},
}  # fmt: skip


def test_an_identity_without_a_library_is_open_clips(config, backbone_identity, vision_identity):
    check_identity(config, backbone_identity, vision_identity | {"vision_kind": "open_clip"}, d_model=8)
    with pytest.raises(MismatchedBackbone, match="wanted library open_clip, given timm"):
        check_identity(config, backbone_identity, vision_identity | {"vision_kind": "timm"}, d_model=8)


def test_a_second_tower_is_compared_as_the_first(config, backbone_identity, vision_identity):
    pair = config | {"vision": config["vision"] | {"vision_second": SECOND}}
    moved = vision_identity | {"vision_second": SECOND | {"vision_weights_file": "there.pth"}}
    check_identity(pair, backbone_identity, moved, d_model=8)
    other = vision_identity | {"vision_second": SECOND | {"vision_feature_layer": [1, 3], "vision_joined": "tokens"}}
    message = (
        r"wanted second tower's layer \[1, 2\], given \[1, 3\]; wanted second tower's joining of layers width, given"
    )
    with pytest.raises(MismatchedBackbone, match=message):
        check_identity(pair, backbone_identity, other, d_model=8)
    with pytest.raises(MismatchedBackbone, match=r"wanted second tower test_vit \(sha256 2{12}\), given none"):
        check_identity(pair, backbone_identity, vision_identity, d_model=8)


def test_a_record_gives_the_settings_of_its_tower(config):
    plain = {"kind": "open_clip", "weights": None, "joined": "width", "resize": "squash", "layer": 4}
    assert tower_of(config["vision"]).items() >= plain.items() and "second" not in tower_of(config["vision"])
    second = tower_of(config["vision"] | {"vision_second": SECOND})["second"]
    wanted = {"kind": "timm", "model_name": "test_vit", "weights": "here.pth", "layer": [1, 2], "resize": "model"}
    assert second.items() >= wanted.items()
