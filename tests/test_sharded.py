"""Two CPU processes under ZeRO-1, -2, -3, FSDP2 and DDP, launched with the configs that are shipped, train what one
process trains on the same batches."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.commands.launch import launch_command, launch_command_parser
from safetensors.torch import load_file

from tests import sharded_processes
from tests.forks import run_two
from tests.sharded_processes import EVALUATED, EVERY, STEPS
from tests.tiny_runs import forget_accelerate, read_log, write_byte_causal, write_byte_t5

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = "adapter_model.safetensors"
NO_DEEPSPEED = find_spec("deepspeed") is None or shutil.which("c++") is None
ENGINES = {  # the config, what accelerate calls it, and the greatest share of the frozen weights in one process
    "ddp": ("multi_gpu", "MULTI_CPU", 1.0),
    "fsdp2": ("fsdp2", "MULTI_CPU", 0.8),  # the table of word embeddings stays whole, and here it is most of the model
    "zero1": ("zero1", "DEEPSPEED", 1.0),
    "zero2": ("zero2", "DEEPSPEED", 1.0),
    "zero2 really launched": ("zero2", "DEEPSPEED", 1.0),
    "zero3": ("zero3", "DEEPSPEED", 0.51),
    "zero3 recomputing": ("zero3", "DEEPSPEED", 0.51),
}
INSIDE = "lora_bitfit"
SLOW = ("zero1", "zero2 really launched", "zero3 recomputing")
EACH = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in ENGINES]


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    return write_byte_t5(tmp_path_factory.mktemp("t5"), layers=2)


def launch(engine: str, t5: Path, folder: Path, *more: Path, inside: str = "") -> list[dict]:
    """What the two processes held at the end."""
    folder.mkdir()
    environment = {"DS_ACCELERATOR": "cpu", "RECOMPUTE": "yes" if "recomputing" in engine else "", "INSIDE": inside}
    words = ["--config_file", str(ROOT / "configs" / "accelerate" / f"{ENGINES[engine][0]}.yaml"), "--num_processes"]
    words += ["2", "--main_process_port", "0", sharded_processes.__file__, *map(str, (t5, folder, *more))]
    if "really launched" in engine:
        environment = os.environ | environment | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "accelerate.commands.launch", *words]
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    else:
        told = launcher_environment(words) | {"ACCELERATE_USE_CPU": "false"}  # as the launcher leaves it
        run_two(sharded_processes.main, t5, folder, *more, folder=folder, **environment, **told)
    return [torch.load(folder / f"rank_{rank}.pt", weights_only=True) for rank in range(2)]


def launcher_environment(words: list[str]) -> dict[str, str]:
    """What `accelerate launch` tells its processes, taken where it would start them: importing torch, transformers and
    DeepSpeed anew in three processes takes 20 s for each engine."""
    told, before = {}, dict(os.environ)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.distributed.run.run", lambda arguments: told.update(os.environ))
        launch_command(launch_command_parser().parse_args(words))
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    return {name: value for name, value in told.items() if before.get(name) != value}


def alone(t5: Path, folder: Path, checkpoint: Path | None = None) -> dict:
    forget_accelerate()
    folder.mkdir()
    held = sharded_processes.work(t5, folder, Accelerator(cpu=True), checkpoint)
    forget_accelerate()
    return held


@pytest.fixture(scope="module")
def whole(t5, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "run"
    return folder, alone(t5, folder)


@pytest.fixture(scope="module")
def launched(t5, tmp_path_factory):
    done = {}

    def get(engine: str) -> tuple[Path, list[dict]]:
        if engine.startswith("zero") and NO_DEEPSPEED:
            pytest.skip("wanted deepspeed and a C++ compiler, with which it makes its CPU part")
        if engine not in done:
            folder = tmp_path_factory.mktemp("launched") / "run"
            done[engine] = folder, launch(engine, t5, folder)
        return done[engine]

    return get


def check_same(given: dict, wanted: dict) -> None:
    assert given.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(
            given[name], value, rtol=1e-4, atol=2e-6, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("engine", EACH)
def test_two_processes_train_what_one_trains(engine, launched, whole):
    folder, held = launched(engine)
    for each in held:
        assert each["processes"] == 2 and each["kind"] == ENGINES[engine][1]
        assert len(each["weights"]) == STEPS // EVERY and each["best_step"] == STEPS
        check_same(each["kept"], whole[1]["kept"])
        assert each["identity"] == whole[1]["identity"]
    for first, second in zip(*(each["weights"] for each in held), strict=True):
        assert all(torch.equal(first[name], second[name]) for name in first)
    ours, theirs = ([line for line in read_log(each) if "loss" in line] for each in (folder, whole[0]))
    assert len(ours) == STEPS
    for line, other in zip(ours, theirs, strict=True):
        assert line["lr"] == pytest.approx(other["lr"]) and len(line["lr"]) == 3  # each group has its own
        assert line["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert line["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("engine", EACH)
def test_frozen_weights_are_kept_in_parts_and_learn_nothing(engine, launched, whole):
    _, held = launched(engine)
    for each in held:
        assert each["frozen"] == whole[1]["frozen"] and not any(each["gradients"])
        share = each["here"] / each["frozen"]
        assert share <= ENGINES[engine][2]
        assert (share == 1.0) == (ENGINES[engine][2] == 1.0)


@pytest.mark.parametrize("engine", EACH)
def test_they_answer_every_example_once_and_as_one_process(engine, launched, whole):
    for each in launched(engine)[1]:
        assert len(each["answers"]["False"]) == len(each["answers"]["True"]) == EVALUATED
        assert each["answers"] == whole[1]["answers"]


def test_checkpoints_hold_what_one_process_writes_and_no_frozen_weight(launched, whole):
    def stored(folder: Path) -> tuple[dict, dict]:
        step = folder / "checkpoints" / f"step_{STEPS}"
        return torch.load(step / "optimizer.pt", weights_only=True)["optimizer"], load_file(step / WEIGHTS)

    wanted, weights = stored(whole[0])
    for engine in ("zero2", "zero3"):
        given, ours = stored(launched(engine)[0])
        assert {name: value.shape for name, value in ours.items()} == {
            name: each.shape for name, each in weights.items()
        }
        assert given["param_groups"] == [
            {**group, "initial_lr": own["initial_lr"], "lr": pytest.approx(group["lr"])}
            for group, own in zip(wanted["param_groups"], given["param_groups"], strict=True)
        ]
        assert given["state"].keys() == wanted["state"].keys()
        for number, each in wanted["state"].items():
            check_same(given["state"][number], each)


def test_one_process_goes_on_where_two_under_zero_stopped(t5, launched, whole, tmp_path):
    checkpoint = launched("zero2")[0] / "checkpoints" / f"step_{EVERY}"
    check_same(alone(t5, tmp_path / "run", checkpoint)["kept"], whole[1]["kept"])


@pytest.mark.skipif(NO_DEEPSPEED, reason="wanted deepspeed and a C++ compiler")
def test_two_processes_under_zero_go_on_where_one_stopped(t5, whole, tmp_path):
    for each in launch("zero3", t5, tmp_path / "run", whole[0] / "checkpoints" / f"step_{EVERY}"):
        check_same(each["kept"], whole[1]["kept"])


@pytest.fixture(scope="module")
def inside_whole(t5, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INSIDE", INSIDE)
        return alone(t5, tmp_path_factory.mktemp("inside") / "run")


@pytest.mark.parametrize(
    "engine", ["ddp", "fsdp2", *(pytest.param(name, marks=pytest.mark.slow) for name in ("zero2", "zero3"))]
)
def test_what_trains_inside_the_frozen_model_trains_as_in_one_process(engine, t5, inside_whole, tmp_path):
    """Layers of PEFT's, added biases and tables of the model's own, beside an adapter and a projection."""
    if engine.startswith("zero") and NO_DEEPSPEED:
        pytest.skip("wanted deepspeed and a C++ compiler, with which it makes its CPU part")
    for each in launch(engine, t5, tmp_path / "run", inside=INSIDE):
        assert any(name.startswith("inside.") for name in each["kept"])
        check_same(each["kept"], inside_whole["kept"])
        assert each["answers"] == inside_whole["answers"]


@pytest.fixture(scope="module")
def decoder_alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decoder")
    model = write_byte_causal(folder / "llama", "llama")
    return model, alone(model, folder / "run")


@pytest.mark.parametrize("engine", ["ddp", "fsdp2", pytest.param("zero3", marks=pytest.mark.slow)])
def test_a_decoder_alone_reads_images_in_two_processes_as_in_one(engine, decoder_alone, tmp_path):
    """It trains alike, and images that rows share are kept where each process has the whole model."""
    if engine.startswith("zero") and NO_DEEPSPEED:
        pytest.skip("wanted deepspeed and a C++ compiler, with which it makes its CPU part")
    model, wanted = decoder_alone
    for each in launch(engine, model, tmp_path / "run"):
        check_same(each["kept"], wanted["kept"])
        assert each["answers"] == wanted["answers"] and len(set(each["answers"]["True"].values())) > 2
        assert each["here"] < each["frozen"] or engine == "ddp"


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["fsdp2", "zero3"])
def test_a_side_network_trains_beside_frozen_weights_in_parts_as_in_one_process(engine, tmp_path, monkeypatch):
    """Without dropout, which the side network has of its own and each process draws for itself."""
    if engine.startswith("zero") and NO_DEEPSPEED:
        pytest.skip("wanted deepspeed and a C++ compiler, with which it makes its CPU part")
    steady = write_byte_t5(tmp_path / "t5", layers=2, dropout=0.0)
    monkeypatch.setenv("INSIDE", "lst")
    wanted = alone(steady, tmp_path / "alone")
    for each in launch(engine, steady, tmp_path / "run", inside="lst"):
        assert any(name.startswith("inside.") for name in each["kept"])
        check_same(each["kept"], wanted["kept"])
        assert each["answers"] == wanted["answers"]
