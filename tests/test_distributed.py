"""Two gloo processes on the CPU are one process with the whole batch. Both start once for all tests here."""

import pytest
import torch
from accelerate import Accelerator

from tests import two_processes
from tests.forks import run_two
from tests.tiny_runs import forget_accelerate, losses
from tests.two_processes import EVALUATED, STEPS


@pytest.fixture(scope="module")
def together(byte_t5, tmp_path_factory):
    """What each of the two processes held at the end."""
    folder = tmp_path_factory.mktemp("together")
    run_two(two_processes.main, byte_t5, folder, folder=folder)
    return folder, [torch.load(folder / f"rank_{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.fixture(scope="module")
def alone(byte_t5, tmp_path_factory):
    forget_accelerate()
    folder = tmp_path_factory.mktemp("alone")
    result = two_processes.work(byte_t5, folder, Accelerator(cpu=True))
    forget_accelerate()
    return folder, result


def test_each_process_trains_on_its_own_half_of_every_batch(together, alone):
    shares, whole = [each["rows"] for each in together[1]], alone[1]["rows"]
    assert [each["processes"] for each in together[1]] == [2, 2] and len(whole) == STEPS
    for first, second, both in zip(*shares, whole, strict=True):
        assert len(first) == len(second) == 4 and sorted(first + second) == sorted(both)


def test_the_processes_hold_equal_weights_after_every_step(together):
    first, second = (each["weights"] for each in together[1])
    assert len(first) == len(second) == STEPS
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert not torch.equal(first[0]["adapter.prompt_embeddings"], first[-1]["adapter.prompt_embeddings"])


def test_gradients_are_equal_in_every_step_and_those_of_the_whole_batch(together, alone):
    first, second = (each["gradients"] for each in together[1])
    assert len(first) == len(second) == len(alone[1]["gradients"]) == STEPS
    for one, other, whole in zip(first, second, alone[1]["gradients"], strict=True):
        for mine, yours, ours in zip(one, other, whole, strict=True):
            assert torch.equal(mine, yours)
            torch.testing.assert_close(mine, ours, rtol=1e-3, atol=1e-6)


def test_two_processes_are_one_with_the_whole_batch(together, alone):
    for name, value in alone[1]["weights"][-1].items():
        torch.testing.assert_close(together[1][0]["weights"][-1][name], value, rtol=1e-4, atol=1e-5)
    first, second = losses(together[0]), losses(alone[0])
    assert first == pytest.approx(second, rel=1e-4) and len(first) == STEPS


def test_the_processes_agree_on_how_much_of_the_shift_is_trained(together, alone):
    whole = alone[1]
    assert whole["lengths"] == [max(whole["longest"][: step + 1]) for step in range(STEPS)]
    assert any(each["longest"] != whole["longest"] for each in together[1]), "each saw all: nothing to agree on"
    for each in together[1]:
        assert each["lengths"] == whole["lengths"] and each["kept_length"] == whole["kept_length"]


def test_the_best_weights_come_back_in_both(together, alone):
    for each in (*together[1], alone[1]):
        assert each["best_step"] == 2
        assert all(torch.equal(value, each["weights"][1][name]) for name, value in each["kept"].items())


def test_an_uneven_split_is_answered_exactly_once_and_as_by_one(together, alone):
    assert EVALUATED % 2
    for each in together[1]:
        assert sorted(each["answers"]) == list(range(100, 100 + EVALUATED))
        assert each["answers"] == alone[1]["answers"]


def test_the_main_process_alone_writes(together):
    folder, _ = together
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["step_1", "step_2", "step_3"]
    files = sorted(path.name for path in (folder / "checkpoints" / "step_3").iterdir())
    assert files == ["adapter_model.safetensors", "optimizer.pt", "progress.json", "rng_0.pt", "rng_1.pt"]


def test_what_one_process_meets_ends_all_of_them(together):
    first, second = (each["poisoned"] for each in together[1])
    assert first == second and first.startswith("NonFiniteLoss: step 3: wanted a finite loss")
    for each in together[1]:  # the second one has nothing to write, and would wait for ever
        assert "no space left" in each["full"] and each["full"].startswith("OSError")
