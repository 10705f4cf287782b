import pytest
import torch
from torch import nn

from dept_vl.adapters import ResidualPromptTuning


def size(d_model: int, num_virtual_tokens: int) -> int:
    start = torch.zeros(num_virtual_tokens, d_model)
    adapter = ResidualPromptTuning(start, num_virtual_tokens=num_virtual_tokens, bottleneck=400)
    return sum(weight.numel() for weight in adapter.parameters())


def test_100_tokens_with_bottleneck_400_on_t5_large_are_925072_weights():
    assert size(1024, 100) == 925_072


@pytest.mark.parametrize(
    "d_model, num_virtual_tokens, thousands",
    [(512, 100, 462), (768, 100, 693), (1024, 100, 925), (512, 10, 416), (768, 10, 624), (1024, 10, 832)],
)
def test_sizes_of_dpts_table_1_and_appendix(d_model, num_virtual_tokens, thousands):
    """DPT (Xiao et al. 2023) prints its residual PT baseline's size in whole thousands, cut off."""
    assert size(d_model, num_virtual_tokens) // 1000 == thousands


def test_the_prompt_is_the_mlp_of_p_plus_p(init):
    adapter = ResidualPromptTuning(init, num_virtual_tokens=4, bottleneck=5)
    down, relu, up, norm = adapter.mlp
    assert isinstance(relu, nn.ReLU)
    hidden = (init[:4] @ down.weight.T + down.bias).clamp(min=0)  # [prompt, bottleneck]
    projected = hidden @ up.weight.T + up.bias
    mean, variance = projected.mean(dim=1, keepdim=True), projected.var(dim=1, correction=0, keepdim=True)
    normed = (projected - mean) / (variance + norm.eps).sqrt() * norm.weight + norm.bias
    torch.testing.assert_close(adapter.fold().prompt, normed + init[:4])


def test_the_mlp_starts_in_torchs_distribution():
    generator = torch.Generator().manual_seed(0)
    adapter = ResidualPromptTuning(torch.zeros(4, 64), num_virtual_tokens=4, bottleneck=400, generator=generator)
    for layer in (adapter.mlp[0], adapter.mlp[2]):
        bound = layer.in_features**-0.5
        for weight in (layer.weight, layer.bias):
            assert weight.abs().max() <= bound
            assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.2)


def test_prompt_and_mlp_train_at_one_rate(init):
    adapter = ResidualPromptTuning(init, num_virtual_tokens=4, bottleneck=5)
    assert list(adapter.param_groups()) == ["prompt"] and len(adapter.param_groups()["prompt"]) == 7
