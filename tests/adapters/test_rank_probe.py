import pytest
import torch

from dept_vl.adapters import RankProbe


def probe(num_virtual_tokens: int = 6, d_model: int = 8, r: int | None = None, seed: int = 0) -> RankProbe:
    generator = torch.Generator().manual_seed(seed)
    return RankProbe(torch.zeros(0, d_model), num_virtual_tokens=num_virtual_tokens, r=r, generator=generator)


def set_sigma(adapter: RankProbe, *values: float) -> RankProbe:
    with torch.no_grad():
        adapter.probe_sigma.copy_(torch.tensor(values))
    return adapter


def test_the_prompt_is_u_diag_relu_sigma_v():
    adapter = set_sigma(probe(5, 4, 3), 2.0, -1.0, 0.5)
    u, v = adapter.probe_U.detach(), adapter.probe_V.detach()
    torch.testing.assert_close(
        adapter.fold().prompt, 2.0 * torch.outer(u[:, 0], v[0]) + 0.5 * torch.outer(u[:, 2], v[2])
    )
    assert adapter.fold().shift is None


@pytest.mark.parametrize(("num", "d_model", "r", "k"), [(4, 8, None, 4), (9, 8, None, 8), (6, 8, 2, 2)])
def test_there_are_as_many_entries_as_the_prompt_can_have_directions_unless_r_says_fewer(num, d_model, r, k):
    adapter = probe(num, d_model, r)
    assert adapter.probe_U.shape == (num, k) and adapter.probe_V.shape == (k, d_model)
    assert adapter.config() == {"num_virtual_tokens": num, "r": k}
    assert adapter.diagnostics() == {"positive": k, "negative": 0, "rank": k}


def test_100_tokens_on_t5_base_start_with_the_papers_100_positive_entries():
    """Section 2.2. The product's entries start with variance 1, whatever k is."""
    adapter = probe(100, 768)
    assert torch.equal(adapter.probe_sigma, torch.ones(100)) and adapter.diagnostics()["positive"] == 100
    for factor in (adapter.probe_U, adapter.probe_V):
        assert factor.std().item() == pytest.approx(100**-0.25, rel=0.03) and factor.mean().abs() < 0.01
    assert adapter.fold().prompt.std().item() == pytest.approx(1.0, rel=0.05)
    assert probe(100, 768, 16).fold().prompt.std().item() == pytest.approx(1.0, rel=0.1)


def test_the_rank_is_at_most_the_number_of_positive_entries():
    assert set_sigma(probe(4, 8), 1.0, 0.0, -1.0, 2.0).diagnostics() == {"positive": 2, "negative": 1, "rank": 2}
    assert set_sigma(probe(4, 8), -1.0, -1.0, -1.0, 0.0).diagnostics() == {"positive": 0, "negative": 3, "rank": 0}
    same = set_sigma(probe(4, 8), 1.0, 1.0, 2.0, -1.0)
    with torch.no_grad():
        same.probe_V[1] = same.probe_V[0]
    assert same.diagnostics() == {"positive": 3, "negative": 1, "rank": 2}


@pytest.mark.parametrize("value", [0.0, -0.2])
def test_an_entry_at_or_below_zero_never_comes_back(value):
    adapter = set_sigma(probe(4, 8, 3), 1.0, value, 1.0)
    dead = [adapter.probe_U[:, 1], adapter.probe_sigma[1], adapter.probe_V[1]]
    before = [part.detach().clone() for part in dead]
    target = torch.randn(4, 8, generator=torch.Generator().manual_seed(2))
    adam = torch.optim.AdamW(adapter.parameters(), lr=0.05, weight_decay=0.0)
    start = (adapter.pair(None).prompt - target).square().sum().item()
    for _ in range(200):
        adam.zero_grad()
        loss = (adapter.pair(None).prompt - target).square().sum()
        loss.backward()
        adam.step()
    assert loss.item() < 0.7 * start  # the others learn
    now = [adapter.probe_U[:, 1], adapter.probe_sigma[1], adapter.probe_V[1]]
    assert all(torch.equal(part, then) for part, then in zip(now, before, strict=True))
    assert adapter.diagnostics()["positive"] == 2


def test_training_towards_a_prompt_of_one_direction_turns_entries_off():
    adapter = probe(6, 8)
    target = torch.outer(torch.arange(1.0, 7.0), torch.ones(8))
    adam = torch.optim.AdamW(adapter.parameters(), lr=0.1, weight_decay=0.0)
    counts = []
    for _ in range(300):
        adam.zero_grad()
        (adapter.pair(None).prompt - target).square().sum().backward()
        adam.step()
        counts.append(adapter.diagnostics()["positive"])
    assert counts == sorted(counts, reverse=True) and 1 <= counts[-1] < 6


def test_all_factors_train_at_the_prompts_rate_and_no_row_of_init_is_read(init):
    adapter = RankProbe(init, num_virtual_tokens=4, generator=torch.Generator().manual_seed(0))
    assert [w.shape for w in adapter.param_groups()["prompt"]] == [(4, 4), (4,), (4, 8)]
    for name, weight in probe(4, 8).state_dict().items():
        assert torch.equal(weight, adapter.state_dict()[name])
