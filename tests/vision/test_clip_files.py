import json
from pathlib import Path

import pytest

from dept_vl.vision.clip import FrozenClip
from dept_vl.vision.clip_files import UnloadableClip
from tests.untrusted.test_lfs_pointers import POINTER

PLAIN = {"layer": 1, "pooling": "none", "resize": "squash"}
KINDS = ("resnet", "vit", "timm")


def load(name):
    return FrozenClip.load(name, **PLAIN)


@pytest.mark.parametrize("kind", KINDS)
def test_missing_and_unknown_weights_are_counted_and_the_first_named(copy_clip, kind):
    def rename(tensors):
        for key in list(tensors):
            tensors[f"other.{key}"] = tensors.pop(key)

    with pytest.raises(
        UnloadableClip, match=r"Missing key.*: \d+ \('.*\.\.\.\); Unexpected key.*: \d+ \('other"
    ) as told:
        load(copy_clip(kind, weights=rename))
    assert "\n" not in str(told.value) and len(str(told.value)) < 1200


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_of_a_tower_that_is_not_finite_is_named(copy_clip, kind):
    def spoil(tensors):
        key = next(key for key in tensors if key.startswith("visual.") and tensors[key].dim() > 1)
        tensors[key].flatten()[7] = float("nan")

    with pytest.raises(UnloadableClip, match="wanted finite weights, given .* with 1 of .* NaN or infinite"):
        load(copy_clip(kind, weights=spoil))


def test_positions_of_another_image_size_are_never_stretched(copy_clip):
    name = copy_clip("vit")
    config = Path(name.removeprefix("local-dir:")) / "open_clip_config.json"
    written = json.loads(config.read_text())
    written["model_cfg"]["vision_cfg"]["image_size"] = 96
    config.write_text(json.dumps(written))
    with pytest.raises(UnloadableClip, match=r"positional_embedding of \[37, 32\].*given \[17, 32\] .*image_size"):
        load(name)


@pytest.mark.parametrize("file", ["open_clip_model.safetensors", "open_clip_config.json"])
def test_a_git_lfs_pointer_is_named(copy_clip, file):
    name = copy_clip("resnet")
    (Path(name.removeprefix("local-dir:")) / file).write_text(POINTER)
    with pytest.raises(UnloadableClip, match=f"{file}: wanted a file with its content, given a git-lfs pointer"):
        load(name)


def test_a_weights_file_that_is_a_pointer_is_named(tmp_path):
    (tmp_path / "RN50.pt").write_text(POINTER)
    with pytest.raises(UnloadableClip, match="RN50.pt: wanted a file with its content, given a git-lfs pointer"):
        FrozenClip.load("RN50", str(tmp_path / "RN50.pt"), **PLAIN)
