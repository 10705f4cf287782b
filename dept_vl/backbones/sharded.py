"""Reads a frozen weight whole where DeepSpeed's ZeRO-3 keeps a part of it in each process. For this folder alone."""

from torch import Tensor


def read_whole(weight: Tensor) -> Tensor:
    """`weight` itself, or where it is kept in parts a copy of it put together; then every process has to call this.

    Only this weight is gathered, never the model.
    """
    if not hasattr(weight, "ds_id"):
        return weight
    import deepspeed

    with deepspeed.zero.GatheredParameters([weight]):
        return weight.detach().clone()
