"""Every method trains on two CPU processes what it trains on one: under DDP, FSDP2, ZeRO-2 and ZeRO-3. So do Adafactor
and a run of a mixture with its teachers. The processes of an engine start once and go through the methods."""

import dataclasses
import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from dept_vl.config import OptimConfig, SamplingConfig
from dept_vl.run.execute import run
from tests import sharded_methods
from tests.forks import run_two
from tests.sharded_methods import ADAFACTOR, EVERY
from tests.test_sharded import ROOT, launcher_environment
from tests.tiny_runs import RATES, forget_accelerate, json_lines, text_experiment, write_byte_t5, write_two_tasks

ENGINES = {"ddp": "multi_gpu", "fsdp2": "fsdp2", "zero2": "zero2", "zero3": "zero3"}
SHARES = {"fsdp2": (0.5, 0.8), "zero3": (0.5, 0.51)}  # of the frozen model in one of two processes; elsewhere all
FULL_SHARE = (0.5, 0.85)  # the table and what else stands outside the blocks trains whole
QUICK = ("adapter smop", "inside prefix", ADAFACTOR)
NO_DEEPSPEED = find_spec("deepspeed") is None or shutil.which("c++") is None


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    """Without dropout: the side network of a ladder has some of its own, which each process draws for itself."""
    return write_byte_t5(tmp_path_factory.mktemp("t5"), layers=2, dropout=0.0)


@pytest.fixture(scope="module")
def alone(t5, tmp_path_factory):
    """By method: what one process holds. Each is trained once, when it is first asked for."""
    held, folder = {}, tmp_path_factory.mktemp("alone")

    def get(name: str) -> dict[str, torch.Tensor]:
        if name not in held:
            forget_accelerate()
            held.update(sharded_methods.work(t5, folder, Accelerator(cpu=True), [name]))
            forget_accelerate()
        return held[name]

    return get


def launch(engine: str, t5: Path, folder: Path, names: tuple[str, ...], *more: object) -> list[dict]:
    words = ["--config_file", str(ROOT / "configs" / "accelerate" / f"{ENGINES[engine]}.yaml"), "--num_processes", "2"]
    given = launcher_environment([*words, "--main_process_port", "0", sharded_methods.__file__])
    given |= {"ACCELERATE_USE_CPU": "false", "DS_ACCELERATOR": "cpu"}
    run_two(sharded_methods.main, t5, folder, names, *more, folder=folder, **given)
    return [torch.load(folder / f"rank_{rank}.pt", weights_only=True) for rank in range(2)]


def check_same(engine: str, held: list[dict], names: tuple[str, ...], alone) -> None:
    """All that differs is told, not the first method alone."""
    wrong = []
    for name in names:
        wanted = alone(name)
        for rank, each in enumerate(held):
            assert each[name].keys() == wanted.keys(), name
            low, high = SHARES.get(engine, (1.0, 1.0))
            if name == "inside full" and engine in SHARES:
                low, high = FULL_SHARE
            assert low <= each[name]["share"] <= high, (engine, name, each[name]["share"])
            for weight, value in wanted.items():
                if rank and not each[name][weight].numel():  # joined in the main process alone
                    assert name == "inside full" and engine in SHARES, (engine, name, weight)
                elif weight != "share" and not torch.allclose(each[name][weight], value, rtol=1e-4, atol=1e-5):
                    wrong.append(f"{name}: {weight}: {(each[name][weight] - value).abs().max():.2g} apart")
    assert not wrong, f"{engine}: " + "; ".join(dict.fromkeys(wrong))


@pytest.fixture(scope="module")
def mixture(t5, tmp_path_factory):
    """A run of MPT on two tasks, with a teacher each and tasks drawn for each batch, in a folder to be named."""
    root = tmp_path_factory.mktemp("mixture")
    data = write_two_tasks(root / "glue")

    def config(folder: Path, **changes):
        start = {"sources": [str(root / name) for name in ("cola", "sst2")]}
        adapter = {"name": "mpt", "args": {"num_virtual_tokens": 3, "num_tasks": None}, "start": start}
        task = {"name": "any", "mixture": ("cola", "sst2"), "sampling": SamplingConfig("even", tasks_per_batch=(2, 2))}
        optim = OptimConfig(lr={**RATES, "task": 0.05}, eps=1e-3)
        return text_experiment(t5, data, folder, **{"adapter": adapter, "task": task, "optim": optim, **changes})

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        for name in ("cola", "sst2"):
            forget_accelerate()
            one = {"name": "pt", "args": {"num_virtual_tokens": 3}}
            run(config(root / name, adapter=one, task={"name": name}, max_steps=2, eval_steps=0))
        forget_accelerate()
    return config


@pytest.mark.usefixtures("afresh")
def test_some_methods_and_a_mixture_train_on_two_processes_as_on_one(t5, alone, mixture, tmp_path):
    whole = run(mixture(tmp_path / "whole"))
    half = dataclasses.replace(mixture(tmp_path / "halves"), per_device_train_batch_size=2)
    check_same("ddp", launch("ddp", t5, tmp_path, QUICK, half), QUICK, alone)
    ours, theirs = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("halves", "whole"))
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-5)
    for folder in ("", "cola", "sst2"):
        one, two = (tmp_path / name / folder for name in ("whole", "halves"))
        key = "prediction"
        assert [row[key] for row in json_lines(one / "predictions.jsonl")] == [
            row[key] for row in json_lines(two / "predictions.jsonl")
        ]
    results = json.loads((tmp_path / "halves" / "results.json").read_text())
    assert results["metrics"]["test"] == whole["metrics"]["test"]
    assert results["meta_info"]["system_info"]["num_processes"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_every_method_trains_on_two_processes_as_on_one(engine, t5, alone, tmp_path):
    if engine.startswith("zero") and NO_DEEPSPEED:
        pytest.skip("wanted deepspeed and a C++ compiler, with which it makes its CPU part")
    names = EVERY if engine.startswith("zero") else (*EVERY, ADAFACTOR)
    check_same(engine, launch(engine, t5, tmp_path, names), names, alone)
