"""Adapters of random weights saved for decoder-only models of random weights."""

import pytest
import torch

from dept_vl.adapters import build_adapter
from dept_vl.backbones import load_backbone
from dept_vl.saved import ModelFacts, save_adapter
from dept_vl.serve import AdaptedModel
from tests.serve.conftest import ARGUMENTS
from tests.tiny_models import write_tiny_gpt2, write_tiny_llama

COLA = {
    "name": "cola", "template": "sentence: {sentence}", "protocol": "as_published", "max_source_length": 12,
    "max_target_length": 5, "num_beams": 1, "labels": {"0": "unacceptable", "1": "acceptable"}, "pad_token": None,
}  # fmt: skip


@pytest.fixture(scope="session")
def causal_folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("causal")
    return {"gpt2": write_tiny_gpt2(root / "gpt2"), "llama": write_tiny_llama(root / "llama")}


@pytest.fixture
def save_text(tmp_path):
    """Save an adapter of random weights for a text task beside a model folder."""

    def save(model, method="dept", *, kind="seq2seq", seed=0, **task):
        backbone = load_backbone(str(model), kind=kind)
        generator = torch.Generator().manual_seed(seed)
        adapter = build_adapter(
            method, torch.randn(9, backbone.d_model, generator=generator), ARGUMENTS[method], generator
        )  # fmt: skip
        with torch.no_grad():
            for weight in adapter.parameters():
                weight.add_(torch.randn(weight.shape, generator=generator))
        folder = tmp_path / f"{kind}_{method}"
        pad = {} if kind == "seq2seq" else {"pad_token": "</s>" if "llama" in str(model) else "<|endoftext|>"}
        save_adapter(
            folder, {"adapter": adapter}, backbone_identity=backbone.identity(), task_type=backbone.task_type,
            task=COLA | pad | task, card=ModelFacts(folder.name),
        )  # fmt: skip
        return folder

    return save


@pytest.fixture
def load_text(save_text):
    def load(model, method="dept", **arguments):
        return AdaptedModel.from_pretrained(save_text(model, method, **arguments), backbone=model)

    return load
