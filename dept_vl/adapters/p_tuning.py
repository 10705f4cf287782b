"""P-tuning, the first version. Liu et al., 2021, arXiv:2103.10385; github.com/THUDM/P-tuning.

    X' = [MLP(LSTM(E)); X],   MLP(h) = ReLU(h W1 + b1) W2 + b2

with an embedding E [prompt, d_model], a bidirectional LSTM of two layers with d_model / 2 units in each direction, and
W1, W2 [d_model, d_model]: the encoder of the authors' LAMA runs, in which the language model is frozen. (Their few-shot
SuperGLUE runs tune it too, with an LSTM twice as wide. PEFT's "P_TUNING" is an MLP of three layers, or a third LSTM.)
There the virtual tokens stand in the slots of a template; here, as in PEFT, they stand in front. LSTM and MLP start as
torch draws them. The code draws E from normal(0, 1): `start: {init: RANDOM}`. After training the encoder is not needed:
`fold` drops it.
"""

import torch
from torch import Generator, nn

from dept_vl.adapters.contract import ADAPTERS, Adapter, BadAdapterSize, Pair, Rows, Text, check_size, first_rows
from dept_vl.adapters.initialise import device_of, uniform
from dept_vl.linear_start import linear


@ADAPTERS.register("p_tuning")
class PTuning(Adapter):
    """E is the first `num_virtual_tokens` rows of `init`. Raises: BadAdapterSize, TooFewInitRows."""

    published = {"num_virtual_tokens": 100}

    def __init__(self, init: Rows, *, num_virtual_tokens: int, generator: Generator | None = None) -> None:
        super().__init__()
        check_size("PTuning", "num_virtual_tokens", num_virtual_tokens, minimum=1)
        self.num_virtual_tokens, self.token_dim = num_virtual_tokens, init.shape[1]
        self.prompt_embeddings = nn.Parameter(first_rows("PTuning", init, num_virtual_tokens))
        self.lstm = lstm(self.token_dim, generator).to(init.device)
        layers = [linear(self.token_dim, self.token_dim, generator) for _ in range(2)]
        self.mlp = nn.Sequential(layers[0], nn.ReLU(), layers[1]).to(init.device)

    def pair(self, text: Text | None) -> Pair:
        hidden, _ = self.lstm(self.prompt_embeddings)  # [prompt, d_model]
        return Pair(self.mlp(hidden))

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"prompt": list(self.parameters())}


def lstm(width: int, generator: Generator | None) -> nn.LSTM:
    """Two bidirectional layers with torch's own distribution, uniform(+-1 / sqrt(units)), drawn from `generator`.

    Raises: BadAdapterSize.
    """
    if width % 2:
        raise BadAdapterSize(f"PTuning: wanted an even d_model, half of it for each direction, given {width}")
    units = width // 2
    layer = nn.LSTM(width, units, 2, bidirectional=True, device="meta").to_empty(device=device_of(generator))
    with torch.no_grad():
        for weight in layer.parameters():
            rows = weight if weight.ndim == 2 else weight.unsqueeze(0)
            rows.copy_(uniform(rows.shape[0], rows.shape[1], units**-0.5, generator))
    return layer
