"""What a run was launched with is completed or refused before anything is loaded."""

from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType

from dept_vl.config import BackboneConfig, BadConfig, Experiment, InsideConfig, OptimConfig, ProgressiveConfig
from dept_vl.run.assembly import start
from dept_vl.run.launcher import check_launcher, check_processes, threads


def launched(kind: DistributedType = DistributedType.NO, processes: int = 1, stage: int = 0) -> Mock:
    """As much of an Accelerator as is asked."""
    plugin = SimpleNamespace(zero_stage=stage, deepspeed_config={}, dschf=SimpleNamespace(config={}))
    return Mock(Accelerator, distributed_type=kind, num_processes=processes, deepspeed_plugin=plugin)


def test_processes_that_formed_no_group_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(BadConfig, match="wanted 4 processes in one group, as launched, given 1"):
        check_processes(Experiment(), launched())
    check_processes(Experiment(), launched(DistributedType.MULTI_GPU, 4))


def test_what_trains_otherwise_is_refused():
    with pytest.raises(BadConfig, match="given DistributedType.MEGATRON_LM"):
        check_processes(Experiment(), launched(DistributedType.MEGATRON_LM))


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_deepspeed_is_told_what_the_experiment_says(stage):
    given = launched(DistributedType.DEEPSPEED, stage=stage)
    config = Experiment(
        per_device_train_batch_size=6, gradient_accumulation_steps=3, backbone=BackboneConfig(dtype="bfloat16")
    )
    check_processes(config, given)
    told = given.deepspeed_plugin.deepspeed_config
    assert (told["train_micro_batch_size_per_gpu"], told["gradient_accumulation_steps"]) == (6, 3)
    assert given.deepspeed_plugin.dschf.config["bf16"] == {"enabled": True}


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_adafactor_is_refused_under_deepspeed_and_runs_elsewhere(stage):
    config = Experiment(optim=OptimConfig(name="adafactor"))
    with pytest.raises(
        BadConfig, match="optim.name: wanted adamw under DeepSpeed, given adafactor: ZeRO keeps the wei"
    ):
        check_processes(config, launched(DistributedType.DEEPSPEED, stage=stage))
    check_processes(config, launched(DistributedType.MULTI_GPU))
    check_processes(config, launched(DistributedType.FSDP))


def test_adafactor_is_refused_where_fsdp_keeps_what_trains_in_parts():
    whole = Experiment(optim=OptimConfig(name="adafactor"), inside=InsideConfig("lora"))
    check_processes(whole, launched(DistributedType.FSDP))
    parts = Experiment(optim=OptimConfig(name="adafactor"), inside=InsideConfig("full"))
    check_processes(parts, launched(DistributedType.MULTI_GPU))
    with pytest.raises(BadConfig, match="optim.name: wanted adamw for inside.name full under FSDP, given adafactor"):
        check_processes(parts, launched(DistributedType.FSDP))
    check_processes(Experiment(inside=InsideConfig("full")), launched(DistributedType.FSDP))


def test_stages_that_sort_frozen_weights_want_them_whole(monkeypatch):
    config = Experiment(progressive=ProgressiveConfig("compound"))
    for stage in (1, 2):
        check_processes(config, launched(DistributedType.DEEPSPEED, stage=stage))
    with pytest.raises(BadConfig, match="wanted none where the frozen weights are kept in parts"):
        check_processes(config, launched(DistributedType.DEEPSPEED, stage=3))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(BadConfig, match="kept in parts"):
        check_processes(config, launched(DistributedType.MULTI_CPU, 2))


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, "sets mixed precision bf16 .*; wanted --bf16 true for bf16, or"),
        ({"ACCELERATE_MIXED_PRECISION": "fp16"}, "sets mixed precision fp16 .*--mixed_precision no"),
        ({"ACCELERATE_MIXED_PRECISION": "fp8"}, "sets mixed precision fp8 "),
        (
            {"ACCELERATE_MIXED_PRECISION": "bf16", "ACCELERATE_USE_DEEPSPEED": "true"},
            "wanted backbone.dtype bfloat16 for bf16",
        ),
        ({"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, "ACCELERATE_DYNAMO_BACKEND inductor, .*--dynamo_backend no"),
        ({"ACCELERATE_USE_MEGATRON_LM": "true"}, "sets ACCELERATE_USE_MEGATRON_LM, but Megatron-LM is not"),
        ({"ACCELERATE_USE_PARALLELISM_CONFIG": "true"}, "sets ACCELERATE_USE_PARALLELISM_CONFIG, but tensor"),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_OFFLOAD_PARAMS": "true"}, "sets FSDP_OFFLOAD_PARAMS, but"),
        (
            {"ACCELERATE_USE_FSDP": "true", "FSDP_ACTIVATION_CHECKPOINTING": "true"},
            "FSDP_ACTIVATION_CHECKPOINTING, but wanted backbone.gradient_checkpointing",
        ),
        ({"ACCELERATE_GRADIENT_CLIPPING": "0.5"}, "sets gradient clipping 0.5, the config 1.0; wanted one value"),
    ],
)
def test_what_the_launcher_asks_for_and_a_run_does_not_do_is_refused(told, message, monkeypatch):
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BadConfig, match=message):
        start(Experiment())


@pytest.mark.parametrize("name", ["ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP"])
def test_packed_weights_are_refused_where_weights_are_taken_apart(name):
    config = Experiment(backbone=BackboneConfig(load_in="int8"))
    with pytest.raises(BadConfig, match=f"backbone.load_in: wanted null under {name}.*given int8"):
        check_launcher(config, {name: "true"})
    check_launcher(config, {name: "false"})


def test_stages_that_sort_neurons_want_float_weights():
    packed = BackboneConfig(load_in="int8")
    Experiment(backbone=packed, progressive=ProgressiveConfig("depth"))
    with pytest.raises(BadConfig, match="progressive.kind: wanted none or depth, given width, .*load_in int8"):
        Experiment(backbone=packed, progressive=ProgressiveConfig("width"))


def test_what_the_launcher_says_by_itself_is_no_contradiction():
    plain = {
        "ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_DYNAMO_BACKEND": "NO", "ACCELERATE_USE_FSDP": "true",
        "FSDP_OFFLOAD_PARAMS": "false", "ACCELERATE_GRADIENT_CLIPPING": "none",
    }  # fmt: skip
    check_launcher(Experiment(), plain)
    check_launcher(Experiment(bf16=True), plain)
    check_launcher(Experiment(bf16=True), {**plain, "ACCELERATE_MIXED_PRECISION": "bf16"})
    check_launcher(Experiment(), {**plain, "ACCELERATE_GRADIENT_CLIPPING": "1.0"})


@pytest.mark.usefixtures("afresh")
def test_threads_that_were_asked_for_are_taken(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    start(Experiment())
    assert torch.get_num_threads() == 3
    assert threads(Experiment(), 16, 4, {"OMP_NUM_THREADS": "3"}) == 3
    assert threads(Experiment(), 16, 4, {"OMP_NUM_THREADS": "1"}) == threads(Experiment(), 16, 4, {}) == 4
    assert threads(Experiment(num_threads=2), 16, 4, {"OMP_NUM_THREADS": "3"}) == 2


def test_autocast_under_deepspeed_is_refused_and_its_replacement_told(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(BadConfig, match="wanted backbone.dtype bfloat16 in its place"):
        start(Experiment(bf16=True))
