"""A linear layer that starts as PyTorch's does, drawn from a generator: what adapters and projections are made of."""

import torch
from torch import nn


def linear(inputs: int, outputs: int, generator: torch.Generator | None = None, *, bias: bool = True) -> nn.Linear:
    """Weight and bias uniform(+-1 / sqrt(inputs)), drawn where the generator lives; None: torch's global generator, on
    the default device."""
    device = torch.get_default_device() if generator is None else generator.device
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs, bias=bias, device=device)
    for weight in layer.parameters():
        nn.init.uniform_(weight, -(inputs**-0.5), inputs**-0.5, generator=generator)
    return layer
