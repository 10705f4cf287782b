"""Row 19: the start-up of a run over a million questions in VQA v2's files, 120,000 images whose features are stored.

The data are written first, in about two minutes, or found where an earlier command left them (DEPT_VL_QUESTIONS names
the folder). Each start-up is a process of its own: the first without any cache of tokens, the others with what it left.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.padding import REAL
from benchmarks.setting import Setting
from benchmarks.startup import REPOSITORY, environment
from benchmarks.table import Line, Measured, Target, exactly
from benchmarks.timing import spread

QUESTIONS, IMAGES = 1_000_000, 120_000
T5 = REAL / "tokenizers" / "t5"  # where it lies beside the checkout; else a byte-level tokenizer of 300 pieces
TINY_QUESTIONS, TINY_IMAGES = 2_000, 240


def questions(setting: Setting) -> Measured:
    sizes = (TINY_QUESTIONS, TINY_IMAGES) if setting.tiny else (QUESTIONS, IMAGES)
    tokenizer = T5 if T5.is_dir() and not setting.tiny else None
    with TemporaryDirectory() as made:
        folder = Path(os.environ.get("DEPT_VL_QUESTIONS") or made) / "world"
        _start(folder, folder / "unused", sizes, tokenizer)  # writes the data
        cache = folder / "cache"
        first, later = [], []
        for _ in range(setting.least):
            shutil.rmtree(cache, ignore_errors=True)
            first.append(_start(folder, cache, sizes, tokenizer))
            later.append(_start(folder, cache, sizes, tokenizer))
        shutil.rmtree(cache, ignore_errors=True)
    what = f"{sizes[0]:,} questions under {'bytes' if tokenizer is None else 'T5'}"
    lines = [
        Line(
            f"start-up over {what}, first", spread([each["startup_seconds"] for each in first]), Target("<=", 30), "s"
        ),
        Line(
            f"start-up over {what}, later", spread([each["startup_seconds"] for each in later]), Target("<=", 30), "s"
        ),
        Line(
            f"memory after it, {what}",
            exactly(max(each["bytes_after"] for each in first) / 1e6),
            Target("<=", 2000),
            "MB",
        ),
        Line(f"greatest memory of it, {what}", exactly(max(each["peak_bytes"] for each in first) / 1e6), None, "MB"),
    ]
    seconds = {"first": _stages(first), "later": _stages(later)}
    return Measured(lines, seconds, {"questions": sizes[0], "images": sizes[1]})


def _stages(found: list[dict[str, Any]]) -> dict[str, list[float]]:
    return {name: [each["stages"][name] for each in found] for name in found[0]["stages"]}


def _start(folder: Path, cache: Path, sizes: tuple[int, int], tokenizer: Path | None) -> dict[str, Any]:
    words = ["--questions", str(sizes[0]), "--images", str(sizes[1]), "--steps", "1"]
    words += [] if tokenizer is None else ["--tokenizer", str(tokenizer)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.load.measure", str(folder), *words],
        cwd=REPOSITORY, env=environment() | {"DEPT_VL_CACHE": str(cache)}, check=True, stdout=subprocess.PIPE,
    )  # fmt: skip
    return json.loads(done.stdout)
