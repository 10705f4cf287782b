"""Tiny CLIPs in open_clip's local-dir layout, with random weights, and a few pictures."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

VISION = {
    "resnet": {"image_size": 96, "layers": [1, 1, 1, 1], "width": 16},
    "vit": {"image_size": 64, "layers": 3, "width": 32, "head_width": 16, "patch_size": 16},
    "timm": {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "linear"},
}
TEXT = {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}


def _randomise(model, seed):
    """Away from open_clip's start, at which a ResNet's blocks add nothing and its norms change nothing."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if "running" in name or "bn" in name or "downsample.1" in name:
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5, generator=generator)
        elif tensor.dim() > 1:
            tensor.normal_(std=tensor[0].numel() ** -0.5, generator=generator)


@pytest.fixture(scope="session")
def clip_folders(tmp_path_factory):
    import open_clip

    folders = {}
    for number, (kind, vision) in enumerate(VISION.items()):
        folders[kind] = folder = tmp_path_factory.mktemp(kind)
        config = {
            "model_cfg": {"embed_dim": 16, "vision_cfg": vision, "text_cfg": TEXT},
            "preprocess_cfg": {},
        }
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
        _randomise(model, seed=number)
        save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folders


@pytest.fixture
def copy_clip(clip_folders, tmp_path):
    """A private copy of a tiny CLIP to change; `dtype` stores its weights so, `config` edits its config."""

    def copy(kind="resnet", name="copied_clip", dtype=None, config=None, weights=None):
        folder = tmp_path / name
        shutil.copytree(clip_folders[kind], folder)
        stored = folder / "open_clip_model.safetensors"
        if dtype is not None or weights is not None:
            tensors = load_file(stored)
            if dtype is not None:
                tensors = {key: t.to(dtype) if t.is_floating_point() else t for key, t in tensors.items()}
            if weights is not None:
                weights(tensors)
            save_file(tensors, stored)
        if config is not None:
            path = folder / "open_clip_config.json"
            content = json.loads(path.read_text())
            config(content)
            path.write_text(json.dumps(content))
        return f"local-dir:{folder}"

    return copy


@pytest.fixture
def load_clip(clip_folders):
    from dept_vl.vision.clip import FrozenClip

    def load(kind="resnet", **arguments):
        arguments = {"layer": -1, "pooling": "none", "resize": "squash", **arguments}
        return FrozenClip.load(f"local-dir:{clip_folders[kind]}", **arguments)

    return load


@pytest.fixture
def make_images(tmp_path):
    """Write `number` pictures of noise; returns key to path."""

    def make(number, folder="images", seed=0):
        draw = np.random.default_rng(seed)
        (tmp_path / folder).mkdir(exist_ok=True)
        images = {}
        for index in range(number):
            path = tmp_path / folder / f"{index:03d}.png"
            pixels = draw.integers(0, 256, (20 + index % 3, 31, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((64, 48)).save(path)
            images[path.name] = path
        return images

    return make
