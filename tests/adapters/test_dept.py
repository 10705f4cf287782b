import math

import pytest
import torch

from dept_vl.adapters import DePT, PromptTuning
from dept_vl.adapters.contract import BadAdapterSize


@pytest.mark.parametrize(
    "num_virtual_tokens, r, max_length",
    [(20, 60, 256), (40, 45, 256), (60, 30, 256), (80, 15, 256), (60, 24, 512)],
)
def test_published_sizes_equal_100_tokens_of_prompt_tuning(num_virtual_tokens, r, max_length):
    start = torch.zeros(100, 768)
    adapter = DePT(start, num_virtual_tokens=num_virtual_tokens, r=r, max_length=max_length)
    assert sum(weight.numel() for weight in adapter.parameters()) == 76_800


def test_multirc_as_published_is_over_the_budget():
    adapter = DePT(torch.zeros(60, 768), num_virtual_tokens=60, r=30, max_length=348)
    assert sum(weight.numel() for weight in adapter.parameters()) == 79_560


def test_dept_starts_as_prompt_tuning(init, make_batch):
    batch = make_batch([3, 9])
    dept = DePT(init, num_virtual_tokens=4, r=2, max_length=6)
    prompt_tuning = PromptTuning(init, num_virtual_tokens=4)
    assert torch.equal(dept(*batch)[0], prompt_tuning(*batch)[0])


def test_without_a_prompt_dept_starts_as_the_plain_text(init, make_batch):
    embeds, mask = make_batch([3, 9])
    out, out_mask = DePT(init, num_virtual_tokens=0, r=2, max_length=6)(embeds, mask)
    assert torch.equal(out, embeds) and torch.equal(out_mask, mask)


def test_without_a_prompt_there_is_no_prompt_weight(init):
    adapter = DePT(init[:0], num_virtual_tokens=0, r=2, max_length=6)
    assert list(adapter.state_dict()) == ["lora_embedding_A", "lora_embedding_B"]
    assert list(adapter.param_groups()) == ["low_rank"]
    assert adapter.fold().prompt.shape == (0, init.shape[1])


@pytest.mark.parametrize("lora_alpha, scale", [(8.0, 8 / math.sqrt(2)), (8, 8 / math.sqrt(2)), (1.5, 1.5 / 2**0.5)])
def test_the_shift_is_the_scaled_product(lora_alpha, scale, init):
    adapter = DePT(init, num_virtual_tokens=4, r=2, max_length=6, lora_alpha=lora_alpha)
    with torch.no_grad():
        adapter.lora_embedding_B.copy_(init[:2])
    torch.testing.assert_close(adapter.fold().shift, scale * (adapter.lora_embedding_A @ init[:2]).detach())


def test_lora_alpha_null_is_the_papers_equation(init):
    adapter = DePT(init, num_virtual_tokens=4, r=2, max_length=6, lora_alpha=None)
    with torch.no_grad():
        adapter.lora_embedding_B.copy_(init[:2])
    torch.testing.assert_close(adapter.fold().shift, (adapter.lora_embedding_A @ init[:2]).detach())


@pytest.mark.parametrize("r, factor", [(30, 1.461), (45, 1.193), (24, 1.633), (15, 2.066)])
def test_the_default_scale_is_the_released_codes(r, factor, init):
    assert DePT(init, num_virtual_tokens=4, r=r, max_length=6).scale == pytest.approx(factor, abs=5e-4)


def test_A_starts_uniform_within_one_over_root_r_and_B_at_zero():
    generator = torch.Generator().manual_seed(0)
    adapter = DePT(torch.zeros(20, 768), num_virtual_tokens=20, r=25, max_length=256, generator=generator)
    a = adapter.lora_embedding_A
    assert a.abs().max() <= 0.2 and a.min() < -0.199 and a.max() > 0.199
    assert a.std().item() == pytest.approx(1 / math.sqrt(3 * 25), rel=0.03)
    assert not adapter.lora_embedding_B.any()


def test_a_gaussian_A_has_the_uniform_ones_standard_deviation_and_B_starts_at_zero(init, make_batch):
    sizes = {"num_virtual_tokens": 20, "r": 25, "max_length": 256, "init_weights": "gaussian"}
    adapter = DePT(torch.zeros(20, 768), **sizes, generator=torch.Generator().manual_seed(0))
    a = adapter.lora_embedding_A
    assert a.std().item() == pytest.approx(1 / math.sqrt(3 * 25), rel=0.03) and a.abs().max() > 0.3
    assert (a.abs() < 1 / math.sqrt(3 * 25)).float().mean().item() == pytest.approx(0.683, abs=0.02)
    assert not adapter.lora_embedding_B.any()
    small, batch = DePT(init, num_virtual_tokens=4, r=2, max_length=6, init_weights="gaussian"), make_batch([3, 9])
    assert torch.equal(small(*batch)[0], PromptTuning(init, num_virtual_tokens=4)(*batch)[0])


def test_beyond_max_length_dept_equals_prompt_tuning(init, make_batch):
    batch = make_batch([9])
    dept = DePT(init, num_virtual_tokens=4, r=2, max_length=6)
    with torch.no_grad():
        dept.lora_embedding_B.copy_(init[:2])
    out, plain = dept(*batch)[0][0], PromptTuning(init, num_virtual_tokens=4)(*batch)[0][0]
    assert torch.equal(out[4 + 6 :], plain[4 + 6 :])
    assert (out[4 : 4 + 6] != plain[4 : 4 + 6]).all(dim=1).all()


def test_its_state_has_the_released_keys_and_its_groups_the_two_rates(init):
    adapter = DePT(init, num_virtual_tokens=4, r=2, max_length=6)
    assert list(adapter.state_dict()) == ["prompt_embeddings", "lora_embedding_A", "lora_embedding_B"]
    groups = adapter.param_groups()
    assert groups["prompt"][0] is adapter.prompt_embeddings
    assert groups["low_rank"][0] is adapter.lora_embedding_A and groups["low_rank"][1] is adapter.lora_embedding_B


@pytest.mark.parametrize("lora_alpha", [0, 0.0, -8.0, math.inf, math.nan])
def test_a_scale_that_trains_nothing_is_refused(lora_alpha, init):
    with pytest.raises(BadAdapterSize, match="DePT: wanted lora_alpha > 0, or null for no scale, given"):
        DePT(init, num_virtual_tokens=4, r=2, max_length=6, lora_alpha=lora_alpha)


def test_rank_0_names_what_to_use_instead(init):
    message = r"DePT: wanted r to be an integer >= 1, given 0 \(use PromptTuning for no shift\)"
    with pytest.raises(BadAdapterSize, match=message):
        DePT(init, num_virtual_tokens=4, r=0, max_length=6)
