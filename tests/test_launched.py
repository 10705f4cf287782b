"""What a run was launched with is completed or refused before anything is loaded."""

from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from accelerate import Accelerator
from accelerate.utils import DistributedType

from dept_vl.config import BackboneConfig, BadConfig, Experiment, ProgressiveConfig
from dept_vl.run.assembly import check_processes, start


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


def test_autocast_under_deepspeed_is_refused_and_its_replacement_told(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(BadConfig, match="wanted backbone.dtype bfloat16 in its place"):
        start(Experiment(bf16=True))
