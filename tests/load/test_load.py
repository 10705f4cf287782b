"""A large run keeps its memory: what a process holds after its first steps is what it holds after its last ones.

A part of the promised size in the suite, the whole in `make test-slow`; `python -m tests.load.measure` prints figures.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.load.measure import prepare

REPOSITORY = Path(__file__).resolve().parents[2]
MIB = 1 << 20


def measured(folder: Path, *, questions: int, images: int, steps: int, log: int, batch_size: int) -> dict[str, Any]:
    """What the run says of itself, in a process that has done nothing else."""
    prepare(folder, questions=questions, images=images, clip="tiny", tokenizer=None)
    sizes = {"questions": questions, "images": images, "steps": steps, "log": log, "batch_size": batch_size}
    words = [word for name, value in sizes.items() for word in (f"--{name}", str(value))]
    ran = subprocess.run(
        [sys.executable, "-m", "tests.load.measure", str(folder), *words],
        capture_output=True, text=True, cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    counts = found["counts"]
    assert sum(each["examples"] for each in counts.values()) == questions == counts["train"]["read"]
    assert sum(each["images"] for each in counts.values()) == images
    return found


def test_memory_is_flat_over_a_run_of_many_questions(tmp_path):
    found = measured(tmp_path, questions=20_000, images=2_400, steps=300, log=100, batch_size=16)
    at_step = found["bytes_at_step"]
    assert abs(at_step["300"] - at_step["100"]) < 2 * MIB  # the allocator grows by MiB; kept batches would add tens
    assert found["bytes_after"] - found["bytes_before"] < 150 * MIB


@pytest.mark.slow
def test_memory_is_flat_over_ten_thousand_steps_of_a_million_questions(tmp_path):
    found = measured(tmp_path, questions=1_000_000, images=120_000, steps=10_000, log=1_000, batch_size=4)
    at_step = found["bytes_at_step"]
    assert abs(at_step["10000"] / at_step["1000"] - 1) < 0.05
    assert found["bytes_after"] - found["bytes_before"] < 2_000 * MIB
