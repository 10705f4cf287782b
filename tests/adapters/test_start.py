import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dept_vl.adapters import DPT, DePT, NoAdapter, PromptTuning, RankProbe, ResidualPromptTuning
from dept_vl.adapters.start import WrongSource

WIDTH = 6


def rows(number: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(number, WIDTH, generator=torch.Generator().manual_seed(seed))


def dept(m: int, r: int, s: int, *, seed: int = 0, alpha: float | None = 8.0) -> DePT:
    generator = torch.Generator().manual_seed(seed)
    adapter = DePT(rows(m, seed), num_virtual_tokens=m, r=r, max_length=s, lora_alpha=alpha, generator=generator)
    with torch.no_grad():
        adapter.lora_embedding_B.normal_(generator=generator)
    return adapter


sizes = st.integers(1, 7)


@settings(max_examples=60)
@given(m=sizes, r=sizes, s=sizes, more_m=sizes, more_r=sizes, more_s=sizes, trained=st.integers(0, 7) | st.none())
def test_a_target_at_least_as_large_starts_as_the_source(m, r, s, more_m, more_r, more_s, trained):
    source, target = dept(m, r, s), dept(m + more_m, r + more_r, s + more_s, seed=1, alpha=3.0)
    source.trained_length = trained
    kept = source.fold()
    target.start_from(source)
    folded = target.fold()
    assert torch.equal(folded.prompt[:m], kept.prompt)
    assert torch.allclose(folded.shift[:s], kept.shift, atol=1e-4)
    assert not folded.shift[s:].any()
    target.train()  # rows that the source never trained are no random shift in training either
    shifted, _ = target(torch.zeros(1, s + more_s, WIDTH), torch.ones(1, s + more_s, dtype=torch.int64))
    assert not shifted[0, m + more_m + min(s, trained if trained is not None else s) :].any()


def test_every_weight_of_an_extended_pair_can_still_learn():
    source, target = dept(2, 2, 3), dept(2, 4, 6, seed=1)
    target.start_from(source)
    embeds, mask = torch.zeros(1, 6, WIDTH), torch.ones(1, 6, dtype=torch.int64)
    for _ in range(2):
        target.train().zero_grad()
        target(embeds, mask)[0].square().sum().add(target(embeds, mask)[0].sum()).backward()
        with torch.no_grad():
            for weight in target.parameters():
                weight -= 0.1 * weight.grad
    assert target.lora_embedding_A.grad.abs().sum(1).all() and target.lora_embedding_B.grad.abs().sum(1).all()


def test_what_was_not_copied_is_told():
    assert dept(2, 3, 5, seed=1).start_from(dept(4, 2, 8)) == (
        "prompt rows 2 to 3 of the source were left: the target has 2",
        "shift rows 5 to 7 of the source were left: the target has 5",
        "ranks 2 to 2 of the target start anew: the source has 2",
    )
    assert dept(2, 2, 3, seed=1).start_from(dept(2, 2, 3)) == ()
    assert PromptTuning(rows(2), num_virtual_tokens=2).start_from(dept(2, 2, 3)) == (
        "the low-rank pair was left: the target has no shift",
    )
    assert dept(2, 2, 3).start_from(PromptTuning(rows(2), num_virtual_tokens=2)) == (
        "the low-rank pair starts anew: the source has no shift",
    )


def test_the_source_keeps_its_weights():
    source = dept(4, 2, 8)
    before = {name: value.clone() for name, value in source.state_dict().items()}
    dept(2, 3, 5, seed=1).start_from(source)
    assert all(torch.equal(value, before[name]) for name, value in source.state_dict().items())


@pytest.mark.parametrize(
    "make",
    [
        lambda: DPT(rows(3), num_virtual_tokens=3, r=2),
        lambda: ResidualPromptTuning(rows(3), num_virtual_tokens=3, bottleneck=2),
        lambda: RankProbe(rows(3), num_virtual_tokens=3),
    ],
)
def test_prompt_tuning_starts_from_any_folded_prompt(make):
    source, target = make(), PromptTuning(rows(3, 5), num_virtual_tokens=3)
    assert target.start_from(source) == ()
    assert torch.equal(target.prompt_embeddings, source.fold().prompt)


def test_factors_are_copied_where_they_overlap():
    source, target = DPT(rows(4), num_virtual_tokens=4, r=3), DPT(rows(6), num_virtual_tokens=6, r=2)
    notes = target.start_from(source)
    assert torch.equal(target.prompt_embedding_A[:4], source.prompt_embedding_A[:, :2])
    assert torch.equal(target.prompt_embedding_B, source.prompt_embedding_B[:2])
    assert notes[0] == "prompt_embedding_A: [4, 2] of [4, 3] went into [6, 2]"
    one, other = (ResidualPromptTuning(rows(3, n), num_virtual_tokens=3, bottleneck=2) for n in (1, 2))
    assert other.start_from(one) == () and torch.equal(one.fold().prompt, other.fold().prompt)
    one, other = (RankProbe(rows(0), num_virtual_tokens=number) for number in (3, 4))
    one.probe_sigma.data[1] = -1.0
    other.start_from(one)
    assert torch.equal(other.probe_sigma, torch.tensor([1.0, -1.0, 1.0, 1.0]))
    torch.testing.assert_close(other.fold().prompt[:3], one.fold().prompt)  # products of 4 and of 3 terms
    assert torch.equal(other.probe_U[:3, :3], one.probe_U)


@pytest.mark.parametrize(
    "make",
    [
        lambda more: DPT(rows(4), num_virtual_tokens=4, r=2 + more, generator=torch.Generator().manual_seed(more)),
        lambda more: ResidualPromptTuning(rows(4, more), num_virtual_tokens=4, bottleneck=3 + more),
        lambda more: RankProbe(rows(4), num_virtual_tokens=4, r=2 + more),
    ],
    ids=["dpt", "residual_pt", "rank_probe"],
)
def test_a_target_with_more_ranks_starts_as_the_source_and_all_of_it_can_learn(make):
    source, target = make(0), make(2)
    target.start_from(source)
    assert torch.allclose(source.fold().prompt, target.fold().prompt, atol=1e-6)
    embeds, _ = target(torch.zeros(1, 1, 6), torch.ones(1, 1, dtype=torch.long))
    embeds.square().sum().backward()
    reached = [weight.grad.abs().sum() for weight in target.parameters()]
    assert all(reached), reached


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (
            PromptTuning(torch.zeros(2, 4), num_virtual_tokens=2),
            dept(2, 2, 2),
            "wanted a source of width 6, given 4: another backbone's",
        ),
        (
            dept(2, 2, 2),
            DPT(rows(2), num_virtual_tokens=2, r=1),
            "wanted a DPT source, given DePT: its weights have no counterpart there",
        ),
        (
            DPT(rows(2), num_virtual_tokens=2, r=1),
            RankProbe(rows(2), num_virtual_tokens=2),
            "wanted a RankProbe source, given DPT: its weights have no counterpart there",
        ),
        (dept(2, 2, 2), NoAdapter(rows(0)), "wanted a target with weights of its own, given NoAdapter"),
        (
            NoAdapter(rows(0)),
            PromptTuning(rows(2), num_virtual_tokens=2),
            "wanted a source with a prompt, given 0 rows for 2",
        ),
    ],
)
def test_what_cannot_start_another_is_refused(source, target, message):
    with pytest.raises(WrongSource) as refusal:
        target.start_from(source)
    assert str(refusal.value) == message
