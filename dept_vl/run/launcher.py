"""What accelerate's launcher tells a run by the environment: refused where the run would not follow it."""

import os
from collections.abc import Mapping

from dept_vl.config import BadConfig, Experiment

_NOT_DONE = {
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM is not supported: wanted one process, DDP, FSDP or DeepSpeed",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "tensor, context and sequence parallelism are not supported: wanted one "
    "process, DDP, FSDP or DeepSpeed",
}
_NOT_DONE_UNDER_FSDP = {
    "FSDP_OFFLOAD_PARAMS": "FSDP keeps its parts on the GPUs here: wanted it off, or DeepSpeed ZeRO-3, which offloads",
    "FSDP_ACTIVATION_CHECKPOINTING": "wanted backbone.gradient_checkpointing in its place",
}


def check_launcher(config: Experiment, environment: Mapping[str, str] = os.environ) -> None:
    """Raises: BadConfig naming the variable, for a launch that asks for what the run does not do."""
    precision = environment.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    if precision != "no" and not (precision == "bf16" and config.bf16):
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
    clipping = environment.get("ACCELERATE_GRADIENT_CLIPPING", "none").lower()
    if clipping not in ("none", "auto") and float(clipping) != (config.optim.max_grad_norm or 0):
        raise BadConfig(
            f"optim.max_grad_norm: accelerate's environment sets gradient clipping {clipping}, the config "
            f"{config.optim.max_grad_norm}; wanted one value"
        )


def threads(config: Experiment, cores: int, processes: int, environment: Mapping[str, str] = os.environ) -> int:
    """CPU threads of a process: the config's, those of an OMP_NUM_THREADS above 1 (accelerate launch sets 1 by itself),
    or its share of the cores."""
    asked = environment.get("OMP_NUM_THREADS", "")
    told = int(asked) if asked.isdecimal() else 1
    return config.num_threads or (told if told > 1 else max(1, cores // processes))


def _on(environment: Mapping[str, str], name: str) -> bool:
    return environment.get(name, "false").lower() in ("true", "1", "yes")
