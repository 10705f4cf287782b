"""An adapter by its name: the constructor's signature is the schema of its arguments."""

import inspect
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from dept_vl.adapters.contract import ADAPTERS, Adapter, check_size
from dept_vl.registry import did_you_mean


class BadAdapterArguments(ValueError):
    """Arguments that the adapter of that name does not take, or lacks."""


def build_adapter(
    name: str,
    init: Float[Tensor, "rows d_model"],
    arguments: Mapping[str, int | float | None],
    generator: torch.Generator | None = None,
) -> Adapter:
    """`ADAPTERS[name](init, **arguments)`, with `generator` where the adapter draws.

    Raises: UnknownName, BadAdapterArguments, and what the constructor raises.
    """
    cls = ADAPTERS[name]
    keywords = {p.name: p for p in inspect.signature(cls).parameters.values() if p.kind is p.KEYWORD_ONLY}
    draws = keywords.pop("generator", None) is not None
    unknown = [key for key in arguments if key not in keywords]
    missing = [key for key, p in keywords.items() if p.default is p.empty and key not in arguments]
    if unknown or missing:
        wrong = f"unknown {', '.join(unknown)}" if unknown else f"no {', '.join(missing)}"
        hint = did_you_mean(unknown[0], keywords) if unknown else ""
        raise BadAdapterArguments(
            f"adapter {name!r}: wanted {', '.join(keywords) or 'no arguments'}; given {wrong}.{hint}"
        )
    return cls(init, **arguments, **({"generator": generator} if draws else {}))


def from_config(name: str, config: Mapping[str, int | float | None], *, device: str = "cpu") -> Adapter:
    """The adapter whose `config()` this is, with weights that wait for `load_state_dict`.

    device: "meta" gives shapes that take no memory, to be compared with a file's first.

    Raises: BadAdapterSize, and what `build_adapter` raises.
    """
    arguments = dict(config)
    token_dim, trained_length = arguments.pop("token_dim", None), arguments.pop("trained_length", None)
    check_size(f"adapter {name!r}", "token_dim", token_dim, minimum=1)
    if trained_length is not None:
        check_size(f"adapter {name!r}", "trained_length", trained_length, minimum=0)
    rows = max(arguments.get("num_virtual_tokens") or 0, 0)  # a bad number is the constructor's to name
    with torch.device(device):
        generator = None if device == "meta" else torch.Generator()
        adapter = build_adapter(name, torch.zeros(rows, token_dim), arguments, generator)
    adapter.trained_length = trained_length
    return adapter


def name_of(adapter: Adapter) -> str:
    """The name under which `adapter`'s class is registered."""
    return next(name for name, cls in ADAPTERS.items() if cls is type(adapter))
