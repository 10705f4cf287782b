"""A small Shapes set on disk, made once."""

from pathlib import Path

import pytest

from dept_vl.embedded.shapes import write_shapes

SIZES = {"train": 12, "restval": 4, "val": 5, "test": 6}


@pytest.fixture(scope="session")
def sizes() -> dict[str, int]:
    return dict(SIZES)


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("made") / "shapes", seed=1, sizes=SIZES)
