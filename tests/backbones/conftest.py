from pathlib import Path

import pytest

from dept_vl.backbones import Backbone, load_backbone
from tests.tiny_models import write_tiny_gpt2, write_tiny_llama, write_tiny_t5

WRITERS = {
    "t5": ("seq2seq", write_tiny_t5, {}),
    "gated_t5": ("seq2seq", write_tiny_t5, {"gated": True}),
    "gpt2": ("causal", write_tiny_gpt2, {}),
    "llama": ("causal", write_tiny_llama, {}),
}


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("backbones")
    return {name: write(root / name, **config) for name, (_, write, config) in WRITERS.items()}


@pytest.fixture
def load(folders):
    def load(name: str, **arguments) -> Backbone:
        return load_backbone(str(folders[name]), kind=WRITERS[name][0], **arguments)

    return load
