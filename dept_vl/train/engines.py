"""The engine that fits how accelerate was launched."""

import os

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType

from dept_vl.model import Network
from dept_vl.train.engine import Engine, ShardedBlocks
from dept_vl.train.zero import Zero


def build_engine(
    accelerator: Accelerator, network: Network, optimizer: torch.optim.Optimizer, max_grad_norm: float | None
) -> Engine:
    """The engine that accelerate was launched with."""
    kind: type[Engine] = Engine
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        kind = Zero
    elif sharded_blocks(accelerator):
        kind = ShardedBlocks
    return kind(accelerator, network, optimizer, max_grad_norm)


def sharded_blocks(accelerator: Accelerator) -> bool:
    """Whether FSDP was requested. Without a GPU accelerate ignores the request, so its launcher's variable decides."""
    requested = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    return accelerator.distributed_type == DistributedType.FSDP or (requested and accelerator.num_processes > 1)
