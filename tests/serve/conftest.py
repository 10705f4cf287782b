"""A tiny T5 and a tiny CLIP on disk, adapters saved for them, and pictures."""

import pytest
import torch

from dept_vl.adapters import build_adapter
from dept_vl.backbones import load_backbone
from dept_vl.saved import ModelFacts, save_adapter
from dept_vl.serve import AdaptedModel
from dept_vl.vision import FrozenClip, VisualProjection
from tests.tiny_models import paint, write_tiny_clip, write_tiny_t5
from tests.toy_arguments import all_toy_arguments

ARGUMENTS = {  # prompts of several lengths, for batches that mix adapters
    **all_toy_arguments(max_length=4),
    "pt": {"num_virtual_tokens": 5},
    "dpt": {"num_virtual_tokens": 2, "r": 2},
}


@pytest.fixture(scope="session")
def t5_folder(tmp_path_factory):
    return write_tiny_t5(tmp_path_factory.mktemp("models") / "tiny_t5")


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory):
    return write_tiny_clip(tmp_path_factory.mktemp("models") / "tiny_clip")


@pytest.fixture(scope="session")
def backbone(t5_folder):
    return load_backbone(str(t5_folder))


@pytest.fixture(scope="session")
def clip(clip_folder):
    return FrozenClip.load(f"local-dir:{clip_folder}", layer=2, pooling="none", resize="squash")


def saver(root, backbone, clip):
    """What the fixture `save` gives, into folders of `root`."""

    def save(method="dept", folder=None, *, seed=0, visual=True, backbone_identity=None, covers="text", **task):
        generator = torch.Generator().manual_seed(seed)
        adapter = build_adapter(method, torch.randn(9, 32, generator=generator), ARGUMENTS[method], generator)
        with torch.no_grad():
            for weight in adapter.parameters():
                weight.add_(torch.randn(weight.shape, generator=generator))
        facts = {
            "name": "vqa", "template": "vqa: {question}", "protocol": "official-2021", "max_source_length": 12,
            "max_target_length": 6, "num_beams": 1, "labels": {}, "pad_token": None,
        }  # fmt: skip
        folder = root / (folder or method)
        projection = {"projection": VisualProjection(clip.width, 32, clip.num_patches, generator)} if visual else {}
        save_adapter(
            folder,
            {"adapter": adapter, **projection},
            backbone_identity=backbone_identity or backbone.identity(),
            vision_identity=clip.identity() if visual else None,
            task_type=backbone.task_type,
            covers=covers,
            task=facts | task,
            card=ModelFacts(folder.name),
        )
        return folder

    return save


@pytest.fixture
def save(tmp_path, backbone, clip):
    """Save an adapter of random weights for the tiny models; `visual=False` for one that reads text alone."""
    return saver(tmp_path, backbone, clip)


@pytest.fixture
def load(t5_folder):
    def load(folder, **arguments):
        return AdaptedModel.from_pretrained(folder, backbone=t5_folder, **arguments)

    return load


@pytest.fixture
def pictures():
    return [paint(seed) for seed in range(6)]
