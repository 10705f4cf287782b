"""How many CPU threads a process takes by itself."""

import pytest
import torch
from torch import nn

from dept_vl import threads
from dept_vl.threads import take_fitting_threads

TINY, LARGE = nn.Linear(2, 2), nn.Linear(10_000_000, 1, device="meta")


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("models", "device", "taken"), [
    ([TINY], "cpu", 1), ([TINY, LARGE], "cpu", 2), ([LARGE, TINY], "cpu", 2), ([TINY], "cuda", 2),
])  # fmt: skip
def test_only_a_small_model_on_the_cpu_is_answered_on_one_thread(models, device, taken):
    take_fitting_threads(*models, device=device)
    assert torch.get_num_threads() == taken


@pytest.mark.parametrize(("asked", "taken"), [("3", 3), ("1", 1), ("many", 1)])
def test_what_the_user_set_wins(monkeypatch, asked, taken):
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    take_fitting_threads(TINY, device="cpu")
    assert torch.get_num_threads() == taken


def test_accelerate_launch_sets_one_by_itself_so_one_is_no_wish():
    assert threads.own_threads({"OMP_NUM_THREADS": "1"}) is None and threads.own_threads({}) is None
