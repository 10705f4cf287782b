"""Small adapters of every method, with identities of models that need not exist."""

import pytest
import torch

from dept_vl.adapters import ADAPTERS, build_adapter
from dept_vl.saved import ModelFacts, save_adapter
from dept_vl.vision import VisualProjection
from tests.tiny_models import write_tiny_t5
from tests.toy_arguments import all_toy_arguments

D_MODEL, WIDTH, PATCHES = 8, 5, 4
ARGUMENTS = {
    **all_toy_arguments(),
    "dept": {"num_virtual_tokens": 3, "r": 2, "max_length": 7, "lora_alpha": None},
    "rank_probe": {"num_virtual_tokens": 3, "r": 2},
}
BACKBONE = {"base_model_name_or_path": "google-t5/t5-base", "revision": "main", "backbone_sha256": "a" * 64}
VISION = {
    "vision_model_name": "RN101",
    "vision_pretrained": "openai",
    "vision_config_sha256": "b" * 64,
    "vision_weights_sha256": "c" * 64,
    "vision_feature_layer": 4,
    "vision_normalized": False,
    "vision_pooling": "max",
    "vision_pool_size": 6,
    "vision_dtype": "float32",
    "preprocessing": {"size": [224, 224], "mean": [0.5, 0.5, 0.5], "resize_mode": "squash"},
}
TASK = {
    "name": "vqa",
    "template": "vqa: {question}",
    "protocol": "official-2021",
    "max_source_length": 16,
    "max_target_length": 6,
    "num_beams": 1,
    "labels": {},
    "pad_token": None,
}


@pytest.fixture
def backbone_identity():
    return dict(BACKBONE)


@pytest.fixture
def vision_identity():
    return dict(VISION)


@pytest.fixture
def task():
    return dict(TASK)


@pytest.fixture
def facts():
    return ModelFacts(
        "dept on VQA v2", dataset="VQA v2", split="test", metrics={"vqa_accuracy": 0.6543},
        protocol="official-2021", training={"steps": 3, "seed": 0},
    )  # fmt: skip


@pytest.fixture
def make_adapter():
    """An adapter of a method with random weights in all its tensors."""

    def make(name="dept", d_model=D_MODEL, seed=0, **changes):
        generator = torch.Generator().manual_seed(seed)
        init = torch.randn(12, d_model, generator=generator)
        adapter = build_adapter(name, init, ARGUMENTS[name] | changes, generator)
        with torch.no_grad():
            for weight in adapter.parameters():
                weight.normal_(generator=generator)
        return adapter

    return make


@pytest.fixture
def projection():
    return VisualProjection(WIDTH, D_MODEL, PATCHES, torch.Generator().manual_seed(1))


@pytest.fixture
def save(tmp_path, backbone_identity, vision_identity, task, facts, projection):
    """Save an adapter with the projection beside it; `visual=False` for a text adapter."""

    def save(adapter, folder="saved", visual=True):
        save_adapter(
            tmp_path / folder,
            {"adapter": adapter, **({"projection": projection} if visual else {})},
            backbone_identity=backbone_identity,
            vision_identity=vision_identity if visual else None,
            task=task,
            card=facts,
        )
        return tmp_path / folder

    return save


@pytest.fixture(params=sorted(ADAPTERS))
def method(request):
    return request.param


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory):
    return write_tiny_t5(tmp_path_factory.mktemp("tiny_t5"))
