"""What the tests of tunings share: arguments of toy size, a batch, weights away from their start."""

import torch
from torch import Tensor

from dept_vl.adapters import build_adapter
from dept_vl.backbones import Backbone
from dept_vl.model import Network
from dept_vl.tuning import Tuning, build_tuning
from dept_vl.vision import VisualProjection
from tests.tiny_runs import PATCHES, WIDTH

CASES = {
    "lora": {"r": 2, "lora_dropout": 0.1},
    "lora_bitfit": {"r": 2},
    "bitfit": {},
    "ia3": {},
    "adapter": {"reduction": 4},
    "adapterdrop": {"reduction": 4, "num_dropped": 1},
    "hyperformer": {"reduction": 4},
    "hyperdecoder": {"bottleneck": 4},
    "full": {},
    "lst": {"reduction": 2, "layers": [0, 1]},
    "prefix": {"num_virtual_tokens": 3, "encoder_hidden_size": 4, "prefix_dropout": 0.1},
    "p_tuning_v2": {"num_virtual_tokens": 2},
}
# How far from the frozen model those start that do not start as it, as a share of its greatest logit. HyperFormer adds
# noise of standard deviation 0.11 to the output of every sub-layer (test_hyperformer.py), which has no bound here.
NEAR = {"adapter": 1e-2, "adapterdrop": 1e-2, "hyperformer": float("inf"), "hyperdecoder": 1e-3}
# Neither as it nor near it. LST's Up and Down are drawn, and the frozen model's own last states are not read out; a
# prefix's keys take their share of each softmax, e^score, at zeros too.
FAR = ("lst", "prefix", "p_tuning_v2")
ONLY_T5 = ("hyperdecoder", "lst")  # refuse a decoder alone by name
MERGING = ("lora", "lora_bitfit", "bitfit", "ia3", "full")
MODELS = {"t5": "seq2seq", "t5_v1_1": "seq2seq", "gpt2": "causal", "llama": "causal"}
GROUPS = (
    "lora", "bias", "relative_bias", "ia3", "bottleneck", "layer_norm", "hypernetwork", "full", "side", "ladder",
    "gate", "prefix",
)  # fmt: skip
RATES = {"projection": 0.02, **dict.fromkeys(GROUPS, 0.01)}


def make(name: str, seed: int = 0, **changes: object) -> Tuning:
    return build_tuning(name, CASES[name] | changes, torch.Generator().manual_seed(seed))


def attached(name: str, backbone: Backbone, *, random: bool = False, seed: int = 0, **changes: object) -> Tuning:
    tuning = make(name, seed, **changes).eval()
    tuning.attach(backbone)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in tuning.parameters() if random else ():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    return tuning


def network_with(tuning: Tuning, backbone: Backbone, *, dropout: bool = False, projection: bool = False) -> Network:
    """Of that tuning, attached before, and of nothing else that trains but a projection where asked."""
    none = build_adapter("none", torch.zeros(0, backbone.d_model), {})
    visual = VisualProjection(WIDTH, backbone.d_model, PATCHES, torch.Generator().manual_seed(2))
    parts = {"adapter": none, **({"projection": visual} if projection else {}), "inside": tuning}
    return Network(backbone, parts, backbone_dropout=dropout)


def rows(backbone: Backbone) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings, mask and labels of a batch whose second row is shorter."""
    embeds = torch.randn(2, 6, backbone.d_model, generator=torch.Generator().manual_seed(3))
    return embeds, torch.tensor([[1] * 6, [1, 1, 1, 0, 0, 0]]), torch.tensor([[3, 4, 5], [6, 7, 8]])


def read(backbone: Backbone) -> Tensor:
    with torch.no_grad():
        return backbone.logits(*rows(backbone))


def values(backbone: Backbone) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in backbone.model.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return list(first) == list(second) and all(torch.equal(first[name], second[name]) for name in first)
