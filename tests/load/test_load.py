"""A large run keeps its memory: what a process holds after its first steps is what it holds after its last ones.

A part of the promised size in the suite, the whole in `make test-slow`; `python -m tests.load.measure` prints figures.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.forks import FORKS
from tests.load.measure import measure_alone, prepare

MIB = 1 << 20


def measured(folder: Path, *, questions: int, images: int, steps: int, log: int, batch_size: int) -> dict[str, Any]:
    """What the run says of itself, in a process that has done nothing else than import."""
    prepare(folder, questions=questions, images=images, clip="tiny", tokenizer=None)
    sizes = {"steps": steps, "log": log, "batch_size": batch_size}
    process = FORKS.Process(target=measure_alone, args=(folder, folder / "found.json"), kwargs=sizes)
    process.start()
    process.join()
    assert process.exitcode == 0
    found = json.loads((folder / "found.json").read_text())
    counts = found["counts"]
    assert sum(each["examples"] for each in counts.values()) == questions == counts["train"]["read"]
    assert sum(each["images"] for each in counts.values()) == images
    return found


def test_memory_is_flat_over_a_run_of_many_questions(tmp_path):
    found = measured(tmp_path, questions=6_000, images=720, steps=200, log=50, batch_size=16)
    at_step = found["bytes_at_step"]
    assert abs(at_step["200"] - at_step["50"]) < 2 * MIB  # the allocator grows by MiB; kept batches would add tens
    assert found["bytes_after"] - found["bytes_before"] < 150 * MIB


@pytest.mark.slow
def test_memory_is_flat_over_ten_thousand_steps_of_a_million_questions(tmp_path):
    found = measured(tmp_path, questions=1_000_000, images=120_000, steps=10_000, log=1_000, batch_size=4)
    at_step = found["bytes_at_step"]
    assert abs(at_step["10000"] / at_step["1000"] - 1) < 0.05
    assert found["bytes_after"] - found["bytes_before"] < 2_000 * MIB
