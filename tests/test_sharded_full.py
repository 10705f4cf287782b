"""Full fine-tuning with the model's blocks in parts on two CPU processes ends, saves and goes on as on one."""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from tests import sharded_full
from tests.forks import run_two
from tests.sharded_full import EVERY, STEPS
from tests.test_sharded import ROOT, launcher_environment
from tests.test_sharded_methods import ENGINES, NO_DEEPSPEED
from tests.tiny_runs import forget_accelerate, write_byte_t5


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    return write_byte_t5(tmp_path_factory.mktemp("t5"), layers=2, dropout=0.0)


@pytest.fixture(scope="module")
def alone(t5, tmp_path_factory):
    """The folder of a run in one process, and what its network ends with."""
    folder = tmp_path_factory.mktemp("alone")
    forget_accelerate()
    held = sharded_full.work(t5, folder, Accelerator(cpu=True))
    forget_accelerate()
    return folder, held


def launch(engine: str, t5: Path, folder: Path, *more: Path) -> dict[str, torch.Tensor]:
    folder.mkdir()
    words = ["--config_file", str(ROOT / "configs" / "accelerate" / f"{ENGINES[engine]}.yaml"), "--num_processes", "2"]
    given = launcher_environment([*words, "--main_process_port", "0", sharded_full.__file__])
    given |= {"ACCELERATE_USE_CPU": "false", "DS_ACCELERATOR": "cpu"}
    run_two(sharded_full.main, t5, folder, *more, folder=folder, **given)
    return torch.load(folder / "held.pt", weights_only=True)


def check_same(given, wanted):
    assert given.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(given[name], value, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: name + text)


def check_checkpoint(given: Path, wanted: Path):
    """Weights and the optimizer's state, each whole, as one process writes them."""
    check_same(*(load_file(each / "adapter_model.safetensors") for each in (given, wanted)))
    ours, theirs = (torch.load(each / "optimizer.pt", weights_only=True)["optimizer"] for each in (given, wanted))
    assert ours["param_groups"] == theirs["param_groups"] and ours["state"].keys() == theirs["state"].keys()
    for number, moments in theirs["state"].items():
        check_same(ours["state"][number], moments)


@pytest.mark.parametrize("engine", ["fsdp2", pytest.param("zero3", marks=pytest.mark.slow)])
def test_all_weights_in_parts_end_and_go_on_as_whole_ones(engine, t5, alone, tmp_path):
    if engine == "zero3" and NO_DEEPSPEED:
        pytest.skip("wanted deepspeed and a C++ compiler, with which it makes its CPU part")
    whole, kept = alone
    check_same(launch(engine, t5, tmp_path / "run"), kept)
    for step in (EVERY, STEPS):
        name = f"checkpoints/step_{step}"
        check_checkpoint(tmp_path / "run" / name, whole / name)
    check_same(launch(engine, t5, tmp_path / "goes on", whole / f"checkpoints/step_{EVERY}"), kept)
    check_checkpoint(tmp_path / "goes on" / f"checkpoints/step_{STEPS}", whole / f"checkpoints/step_{STEPS}")
