"""An adapter by its name: the constructor's signature is the schema of its arguments."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dept_vl.adapters.contract import ADAPTERS, Adapter, check_size


def build_adapter(
    name: str,
    init: Float[Tensor, "rows d_model"],
    arguments: Mapping[str, Any],
    generator: torch.Generator | None = None,
) -> Adapter:
    """`ADAPTERS[name](init, **arguments)`, with `generator` where the adapter draws.

    Raises: UnknownName, BadArguments, and what the constructor raises.
    """
    return ADAPTERS.build(name, arguments, generator, init)


def from_config(
    name: str, token_dim: int, arguments: Mapping[str, Any], state: Mapping[str, Any], *, device: str = "cpu"
) -> Adapter:
    """The adapter of that `config()` and `state()`, with weights that wait for `load_state_dict`.

    device: "meta" gives shapes that take no memory, to be compared with a file's first.

    Raises: BadAdapterSize, and what `build_adapter` and `load_state` raise.
    """
    check_size(f"adapter {name!r}", "token_dim", token_dim, minimum=1)
    rows = ADAPTERS[name].start_rows(arguments)
    with torch.device(device):
        generator = None if device == "meta" else torch.Generator()
        adapter = build_adapter(name, torch.zeros(rows, token_dim), arguments, generator)
    adapter.load_state(state)
    return adapter
