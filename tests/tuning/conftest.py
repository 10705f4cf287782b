"""Every registered tuning in toy size, on frozen models of a few thousand weights of every type that is supported."""

import copy
import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from dept_vl.backbones import Backbone, load_backbone
from tests.tiny_models import write_tiny_gpt2, write_tiny_llama, write_tiny_t5
from tests.tiny_runs import write_byte_t5
from tests.tiny_tunings import CASES, MODELS, ONLY_T5


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out the laws of a method on models that it refuses."""
    items[:] = [item for item in items if not _refused(getattr(getattr(item, "callspec", None), "params", {}))]


def _refused(params: dict[str, object]) -> bool:
    return params.get("case") in ONLY_T5 and MODELS.get(params.get("kind")) == "causal"


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    """A test that asks for this is a law: it runs over all tunings."""
    return request.param


@pytest.fixture(params=MODELS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {
        "t5": write_byte_t5(root / "t5", layers=2),
        "t5_v1_1": write_tiny_t5(root / "t5_v1_1", gated=True, layers=2),
        "gpt2": write_tiny_gpt2(root / "gpt2"),
        "llama": write_tiny_llama(root / "llama"),
    }


@pytest.fixture(scope="session")
def load(folders: dict[str, Path]) -> Callable[..., Backbone]:
    """A frozen model as it was read, once for all tests."""

    @functools.cache
    def read(kind: str, dtype: str) -> Backbone:
        return load_backbone(str(folders[kind]), kind=MODELS[kind], attn_implementation="eager", dtype=dtype)

    return lambda kind="t5", dtype="float32": copy.deepcopy(read(kind, dtype))
