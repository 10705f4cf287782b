"""How accelerate launched a run, by its environment and its processes: refused where the run would not follow it."""

import os
from collections.abc import Mapping

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, is_initialized
from accelerate.utils import AutocastKwargs, DistributedType

from dept_vl.config import BadConfig, Experiment
from dept_vl.threads import own_threads
from dept_vl.train import sharded_blocks
from dept_vl.tuning import TUNINGS

_NOT_DONE = {
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM is not supported: wanted one process, DDP, FSDP or DeepSpeed",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "tensor, context and sequence parallelism are not supported: wanted one "
    "process, DDP, FSDP or DeepSpeed",
}
_SHARDING = ("ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP")
_NOT_DONE_UNDER_FSDP = {
    "FSDP_OFFLOAD_PARAMS": "FSDP keeps its parts on the GPUs here: wanted it off, or DeepSpeed ZeRO-3, which offloads",
    "FSDP_ACTIVATION_CHECKPOINTING": "wanted backbone.gradient_checkpointing in its place",
}


def check_launcher(config: Experiment, environment: Mapping[str, str] = os.environ) -> None:
    """Raises: BadConfig naming the variable, for a launch that asks for what the run does not do."""
    precision = environment.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    if precision != "no" and not (precision == "bf16" and config.bf16 is True):
        instead = "backbone.dtype bfloat16" if _on(environment, "ACCELERATE_USE_DEEPSPEED") else "--bf16 true"
        raise BadConfig(
            f"bf16: accelerate's environment sets mixed precision {precision} (ACCELERATE_MIXED_PRECISION), the config "
            f"bf16 {str(config.bf16).lower()}; wanted {instead} for bf16, or accelerate launch --mixed_precision no"
        )
    compiler = environment.get("ACCELERATE_DYNAMO_BACKEND", "no").lower()
    if compiler != "no":
        raise BadConfig(
            f"accelerate's environment sets ACCELERATE_DYNAMO_BACKEND {compiler}, but steps are not compiled here; "
            "wanted accelerate launch --dynamo_backend no"
        )
    fsdp = _NOT_DONE_UNDER_FSDP if _on(environment, "ACCELERATE_USE_FSDP") else {}
    for name, why in (_NOT_DONE | fsdp).items():
        if _on(environment, name):
            raise BadConfig(f"accelerate's environment sets {name}, but {why}")
    sharding = next((name for name in _SHARDING if _on(environment, name)), None)
    if sharding is not None and config.backbone.load_in is not None:
        raise BadConfig(
            f"backbone.load_in: wanted null under {sharding}, which takes weights of one floating type apart, given "
            f"{config.backbone.load_in}: under DDP each process holds the packed model whole"
        )
    clipping = environment.get("ACCELERATE_GRADIENT_CLIPPING", "none").lower()
    if clipping not in ("none", "auto") and float(clipping) != (config.optim.max_grad_norm or 0):
        raise BadConfig(
            f"optim.max_grad_norm: accelerate's environment sets gradient clipping {clipping}, the config "
            f"{config.optim.max_grad_norm}; wanted one value"
        )


def check_processes(config: Experiment, accelerator: Accelerator) -> None:
    """Completes what accelerate was launched with. Raises: BadConfig for a launch that does not fit the config."""
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != launched:
        raise BadConfig(f"wanted {launched} processes in one group, as launched, given {accelerator.num_processes}")
    kind, parts = accelerator.distributed_type, sharded_blocks(accelerator)
    if kind == DistributedType.DEEPSPEED:
        parts = accelerator.deepspeed_plugin.zero_stage == 3
        if not config.max_steps:
            raise BadConfig("max_steps: wanted at least 1 under DeepSpeed, whose engine trains, given 0")
        accelerator.deepspeed_plugin.deepspeed_config |= {
            "train_micro_batch_size_per_gpu": config.per_device_train_batch_size,
            "gradient_accumulation_steps": config.gradient_accumulation_steps,
            "zero_force_ds_cpu_optimizer": False,  # torch's AdamW steps the few trained weights, offloaded or not
        }
        # transformers reads this one while it loads, where each weight is made in parts at once
        accelerator.deepspeed_plugin.dschf.config["bf16"] = {"enabled": config.backbone.dtype == "bfloat16"}
        if rests(config):
            raise BadConfig(
                f"progressive.kind: wanted none for inside.name {config.inside.method} under DeepSpeed, given "
                f"{config.progressive.kind!r}: layers that a stage leaves out have no gradients to share; use DDP"
            )
        if config.optim.name != "adamw":
            raise BadConfig(
                f"optim.name: wanted adamw under DeepSpeed, given {config.optim.name}: ZeRO keeps the weights as flat "
                "parts, which have no rows and columns; use DDP or FSDP"
            )
    elif kind not in (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU, DistributedType.FSDP):
        raise BadConfig(f"wanted one process, DDP, FSDP or DeepSpeed, given {kind}: not supported")
    method = config.inside.method
    if sharded_blocks(accelerator) and method and TUNINGS[method].sharded and config.optim.name != "adamw":
        raise BadConfig(
            f"optim.name: wanted adamw for inside.name {method} under FSDP, given {config.optim.name}: it averages "
            "over rows and columns, of which each process has a part; use DDP"
        )
    if parts and config.progressive.kind != "none":
        raise BadConfig(
            f"progressive.kind: wanted none where the frozen weights are kept in parts (ZeRO-3, FSDP), given "
            f"{config.progressive.kind!r}: its stages sort them in place; ZeRO-1 and ZeRO-2 keep them whole"
        )


def precision(config: Experiment, environment: Mapping[str, str] = os.environ) -> tuple[str, AutocastKwargs]:
    """accelerate's mixed precision, which all runs of a process have in common, and this run's switch for autocast: off
    until `settle` chooses bfloat16. So the first is bf16 wherever a run may choose, and the second decides."""
    sharded = any(_on(environment, name) for name in _SHARDING)
    able = not torch.cuda.is_available() or torch.cuda.is_bf16_supported(including_emulation=False)
    given = AcceleratorState().mixed_precision if is_initialized() else None
    usual = "no" if sharded else given or ("bf16" if able else "no")
    return "bf16" if config.bf16 is True else usual, AutocastKwargs(enabled=config.bf16 is True)


def rests(config: Experiment) -> bool:
    """Whether stages of fewer layers leave what trains inside the others without a gradient."""
    return config.inside.method is not None and config.progressive.kind != "none"


def threads(config: Experiment, cores: int, processes: int, environment: Mapping[str, str] = os.environ) -> int:
    """CPU threads of a process: the config's, those of an OMP_NUM_THREADS above 1 (accelerate launch sets 1 by itself),
    or its share of the cores."""
    return config.num_threads or own_threads(environment) or max(1, cores // processes)


def _on(environment: Mapping[str, str], name: str) -> bool:
    return environment.get(name, "false").lower() in ("true", "1", "yes")
