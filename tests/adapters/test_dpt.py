import pytest
import torch

from dept_vl.adapters import DPT
from dept_vl.adapters.initialise import BadInit


@pytest.mark.parametrize("d_model, size", [(512, 6_120), (768, 8_680), (1024, 11_240)])
def test_sizes_of_the_paper(d_model, size):
    """Table 1: 6K, 9K and 11K weights for T5-small, base and large."""
    adapter = DPT(torch.zeros(0, d_model), num_virtual_tokens=100, r=10)
    assert sum(weight.numel() for weight in adapter.parameters()) == size


def test_the_prompt_is_the_product_without_a_scale(init, make_batch):
    adapter = DPT(init, num_virtual_tokens=5, r=3)
    out, _ = adapter(*make_batch([2]))
    torch.testing.assert_close(out[0, :5], adapter.prompt_embedding_A @ adapter.prompt_embedding_B)


def test_both_factors_start_uniform_within_a_half():
    adapter = DPT(torch.zeros(0, 768), num_virtual_tokens=100, r=10, generator=torch.Generator().manual_seed(0))
    for factor in (adapter.prompt_embedding_A, adapter.prompt_embedding_B):
        assert factor.abs().max() <= 0.5 and factor.min() < -0.49 and factor.max() > 0.49
        assert factor.std().item() == pytest.approx(12**-0.5, rel=0.03)
    # Entries of the product: mean 0, std sqrt(r) / 12.
    assert adapter.fold().prompt.std().item() == pytest.approx(10**0.5 / 12, rel=0.05)


def test_gaussian_factors_have_the_uniform_ones_standard_deviation():
    sizes = {"num_virtual_tokens": 1000, "r": 10, "init_weights": "gaussian"}
    adapter = DPT(torch.zeros(0, 768), **sizes, generator=torch.Generator().manual_seed(0))
    for factor in (adapter.prompt_embedding_A, adapter.prompt_embedding_B):
        assert factor.std().item() == pytest.approx(12**-0.5, rel=0.03) and factor.abs().max() > 0.75
        share = (factor.abs() < 12**-0.5).float().mean().item()
        assert share == pytest.approx(0.683, abs=0.02)  # within one standard deviation; of a uniform one 0.577
    assert adapter.config()["init_weights"] == "gaussian"


def test_an_unknown_distribution_is_refused_by_name(init):
    with pytest.raises(
        BadInit, match="init_weights: wanted one of uniform, gaussian, given 'gausian'. Did you mean 'ga"
    ):
        DPT(init, num_virtual_tokens=2, r=2, init_weights="gausian")


def test_only_the_width_of_init_is_read(init):
    def draw(start):
        return DPT(start, num_virtual_tokens=50, r=3, generator=torch.Generator().manual_seed(3)).state_dict()

    for name, weight in draw(init).items():
        assert torch.equal(weight, draw(init[:0])[name])


def test_both_factors_train_at_the_prompts_rate(init):
    adapter = DPT(init, num_virtual_tokens=5, r=3)
    assert [w.shape for w in adapter.param_groups()["prompt"]] == [(5, 3), (3, init.shape[1])]
