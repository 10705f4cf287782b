"""Files from strangers, broken at random: only documented errors, no hang, no memory for sizes that a header claims.

`make fuzz` tries more inputs of each kind, DEPT_VL_FUZZ_INPUTS of them, and then tests.fuzz.guided.
"""

import contextlib
import gc
import io
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.bounds import MEMORY, Hung, forget_peak, limited_memory, peak, within
from tests.fuzz.mutations import mutated
from tests.fuzz.targets import KINDS, Target, make_targets

INPUTS = int(os.environ.get("DEPT_VL_FUZZ_INPUTS", 25))


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory, place: Path) -> dict[str, Target]:
    return make_targets(tmp_path_factory.mktemp("good"), place)


def test_the_measure_of_memory_sees_what_was_held_and_let_go():
    forget_peak()
    before = peak()
    bytes(bytearray(600 * 2**20))
    assert peak() - before > MEMORY


def test_a_reader_that_never_returns_is_stopped():
    with pytest.raises(Hung, match="within 0.2 s"), within(0.2):
        while True:
            try:
                sum(range(1000))
            except Exception:  # as readers of damaged files have it
                pass


def test_a_reader_that_waits_for_ever_is_stopped():
    with pytest.raises(Hung, match="within 0.1 s"), within(0.1):
        time.sleep(60)


def test_a_reader_that_never_comes_back_to_python_ends_the_process():
    nested = "value = ()\nfor _ in range(60): value = (value, value)\n"  # whose hash takes 2^60 steps of C
    program = f"from tests.fuzz.bounds import within\n{nested}with within(0.2): hash(value)\n"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1 and "Timeout" in ended.stderr


def test_a_reader_that_asks_for_the_whole_machine_gets_an_error():
    with pytest.raises(MemoryError), limited_memory(2**30):
        bytearray(2**31)


def test_every_kind_is_attacked(kinds):
    assert set(kinds) == set(KINDS)


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Hypothesis times each collection, and fails where one begins with the stack as full as a reader can make it."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_file_is_read_or_refused_by_name(kind, kinds):
    target = kinds[kind]
    target.read()
    forget_peak()
    good, before = target.file.read_bytes(), peak()
    refused = []

    @settings(
        max_examples=INPUTS, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )  # fmt: skip
    @given(data=mutated(good))
    def attack(data: bytes) -> None:
        target.file.write_bytes(data)
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            try:
                with within(), no_collection():
                    target.read()
            except target.errors as error:
                refused.append(error)
            except (Hung, MemoryError) as error:  # told anew: where it struck there may be no line to show
                raise AssertionError(f"{type(error).__name__}: {error}") from None

    try:
        with limited_memory():
            attack()
    finally:
        target.file.write_bytes(good)
    assert refused  # or nothing was broken
    assert peak() - before < MEMORY
