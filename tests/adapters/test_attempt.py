import json
import math

import pytest
import torch

from dept_vl.adapters import DePT, PromptTuning, build_adapter, from_config
from dept_vl.adapters.attempt import ATTEMPT
from dept_vl.adapters.contract import Text, TooFewInitRows, WrongInputs
from dept_vl.adapters.start import WrongSource


def build(init, num_sources: int = 3, **sizes) -> ATTEMPT:
    sizes = {"num_virtual_tokens": 4, "r": 5, **sizes}
    return ATTEMPT(init, num_sources=num_sources, **sizes, generator=torch.Generator().manual_seed(0)).eval()


@pytest.fixture
def attempt(init) -> ATTEMPT:
    """With a network that tells texts apart, and a target of its own."""
    adapter, generator = build(init), torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in adapter.parameters():
            weight.normal_(generator=generator)
        adapter.attention_norm.weight.mul_(20)
    return adapter


def test_the_published_size_is_231936_and_230400_without_the_norm():
    adapter = ATTEMPT(torch.zeros(600, 768), **ATTEMPT.published)
    counts = {name: sum(weight.numel() for weight in group) for name, group in adapter.param_groups().items()}
    assert counts == {"prompt": 76_800, "attention": 155_136}
    assert (
        sum(counts.values())
        == 231_936
        == 230_400 + sum(weight.numel() for weight in adapter.attention_norm.parameters())
    )
    assert adapter.source_prompts.numel() == 460_800 and round(adapter.temperature, 1) == 2087.6


def test_it_starts_as_the_released_code_draws_it(init):
    adapter = ATTEMPT(torch.zeros(600, 768), **ATTEMPT.published, generator=torch.Generator().manual_seed(0))
    for drawn in (adapter.attention_down, adapter.attention_up):
        assert drawn.std().item() == pytest.approx(0.01, rel=0.02)
    assert adapter.attention_norm.weight.eq(1).all() and not adapter.attention_norm.bias.any()
    small = build(init)
    assert torch.equal(small.source_prompts.flatten(0, 1), init[:12])
    assert torch.equal(small.prompt_embeddings, init[:4])


def test_a_blind_network_gives_the_target_and_the_mean(init, make_batch):
    """One source that the target still equals, and U = 0: both shares are 1 / 2, so P + (P + P) / 2."""
    adapter = build(init, num_sources=1)
    with torch.no_grad():
        adapter.attention_up.zero_()
    embeds, mask = make_batch([3, 5])
    assert torch.equal(adapter.mixture(Text(embeds, mask)), torch.full((2, 2), 0.5))
    torch.testing.assert_close(adapter(embeds, mask)[0][:, :4], (2 * init[:4]).expand(2, -1, -1))


def test_each_text_gets_its_own_mixture_as_the_equation_says(attempt, make_batch):
    embeds, mask = make_batch([3, 5])
    out, _ = attempt(embeds, mask)
    prompts = [*attempt.source_prompts, attempt.prompt_embeddings]
    mixtures = []
    for row, length in enumerate([3, 5]):
        inner = attempt.attention_down @ embeds[row, :length].max(dim=0).values
        hidden = attempt.attention_norm(attempt.attention_up @ (inner * inner.sigmoid()))
        scores = torch.stack([prompt.max(dim=0).values @ hidden for prompt in prompts]) / (8 * math.e)
        shares = scores.exp() / scores.exp().sum()
        wanted = attempt.prompt_embeddings + sum(a * prompt for a, prompt in zip(shares, prompts, strict=True))
        torch.testing.assert_close(out[row, :4], wanted)
        mixtures.append(shares)
    assert (mixtures[0] - mixtures[1]).abs().max() > 0.01, "a network that always says the same tests nothing"


def test_a_high_temperature_gives_equal_shares(attempt, make_batch):
    text = Text(*make_batch([3, 5]))
    assert attempt.mixture(text).std() > 0.05
    attempt.temperature = 1e9
    torch.testing.assert_close(attempt.mixture(text), torch.full((2, 4), 0.25))


@pytest.mark.parametrize("side", ["left", "right"])
def test_neither_pads_nor_batch_mates_change_a_rows_prompt(attempt, side, make_batch):
    embeds, mask = make_batch([3, 5], seq=9, side=side)
    embeds = embeds.masked_fill(mask.unsqueeze(-1) == 0, 1e4)  # a pad that would win every maximum
    together, _ = attempt(embeds, mask)
    short, _ = make_batch([3, 5])
    for row, length in enumerate([3, 5]):
        alone, _ = attempt(short[row : row + 1, :length], torch.ones(1, length, dtype=torch.long))
        torch.testing.assert_close(alone[0, :4], together[row, :4])


def test_a_text_of_pads_alone_is_read_as_zero(attempt):
    shares = attempt.mixture(Text(torch.full((1, 2, 8), 7.0), torch.zeros(1, 2, dtype=torch.long)))
    torch.testing.assert_close(shares, attempt.mixture(Text(torch.zeros(1, 1, 8), torch.ones(1, 1, dtype=torch.long))))


def test_sources_are_saved_and_no_step_moves_them(init, make_batch):
    adapter = build(init)
    before, kept = adapter.source_prompts.clone(), init.clone()
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=0.3, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        adapter(*make_batch([3, 6]))[0].square().sum().backward()
        optimizer.step()
    assert torch.equal(adapter.source_prompts, before) and torch.equal(init, kept)
    assert not torch.equal(adapter.prompt_embeddings, before[0])
    assert "source_prompts" in adapter.state_dict() and "source_prompts" not in dict(adapter.named_parameters())


def test_the_sources_hashes_are_state(attempt):
    assert attempt.state() == {}
    attempt.sources = ("ab", "cd", "ef")
    state = json.loads(json.dumps(attempt.state()))
    assert from_config("attempt", 8, attempt.config(), state).sources == ("ab", "cd", "ef")
    for wrong in ({"sources": "ab"}, {"sources": [3]}, {"trained_length": 3}):
        with pytest.raises(ValueError, match="ATTEMPT: wanted a state of sources, a hash each, given {"):
            attempt.load_state(wrong)


def test_it_starts_from_its_own_kind_over_the_same_sources_or_from_a_prompt(attempt, init, make_batch):
    target, batch = build(init), make_batch([3, 5])
    assert target.start_from(attempt) == ()
    assert torch.equal(target(*batch)[0], attempt(*batch)[0])
    with pytest.raises(WrongSource, match=r"over the same source prompts \[3, 4, 8\], given one over others"):
        build(init.flip(0)).start_from(attempt)
    with pytest.raises(WrongSource, match=r"over the same source prompts \[2, 4, 8\], .* others \[3, 4, 8\]"):
        build(init, num_sources=2).start_from(attempt)
    fresh = build(init)
    down = fresh.attention_down.clone()
    notes = fresh.start_from(PromptTuning(init[8:], num_virtual_tokens=4))
    assert notes == ("the attention network starts anew: the source has none",)
    assert torch.equal(fresh.prompt_embeddings, init[8:12]) and torch.equal(fresh.attention_down, down)
    with pytest.raises(
        WrongSource, match="wanted a source with a constant prompt, given ATTEMPT, which reads the text"
    ):
        DePT(init, num_virtual_tokens=4, r=2, max_length=3).start_from(attempt)


def test_it_wants_rows_for_every_source(init):
    arguments = {"num_virtual_tokens": 4, "num_sources": 5, "r": 2}
    assert ATTEMPT.start_rows(arguments) == 20
    with pytest.raises(TooFewInitRows, match="num_sources x num_virtual_tokens=20 wants an init of at least 20 rows"):
        build_adapter("attempt", init[:19], arguments)


def several(init, num_tasks: int = 3) -> ATTEMPT:
    """Of several target tasks, with weights away from their start."""
    adapter, generator = build(init, num_tasks=num_tasks), torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in adapter.parameters():
            weight.normal_(generator=generator)
        adapter.attention_norm.weight.mul_(20)
    return adapter


def test_eight_tasks_train_96192_weights_each():
    adapter = from_config("attempt", 768, {**ATTEMPT.published, "num_tasks": 8}, {}, device="meta")
    groups = {name: sum(weight.numel() for weight in group) for name, group in adapter.param_groups().items()}
    assert groups == {"prompt": 8 * 76_800, "attention": 153_600 + 1_536} and sum(groups.values()) / 8 == 96_192


def test_every_target_starts_as_the_first_source_and_they_part(init, make_batch):
    adapter = build(init, num_tasks=3)
    assert torch.equal(adapter.prompt_embeddings, init[:4].expand(3, -1, -1))
    adapter(*make_batch([3, 9]), None, torch.tensor([2, 0]))[0].square().sum().backward()
    assert adapter.prompt_embeddings.grad.abs().sum((1, 2)).gt(0).tolist() == [True, False, True]
    assert not adapter.prompt_embeddings.grad[0].equal(adapter.prompt_embeddings.grad[2])
    assert adapter.attention_up.grad.abs().sum() > 0, "one network for all"


def test_each_row_mixes_its_own_tasks_prompt(init, make_batch):
    adapter, (embeds, mask) = several(init), make_batch([3, 9, 5, 4])
    tasks = torch.tensor([2, 0, 2, 1])
    out, out_mask = adapter(embeds, mask, None, tasks)
    for row, task in enumerate(tasks.tolist()):
        alone = adapter.for_task(task)
        assert alone.num_tasks is None and alone.prompt_embeddings.equal(adapter.prompt_embeddings[task])
        wanted, wanted_mask = alone(embeds[row : row + 1], mask[row : row + 1])
        torch.testing.assert_close(out[row : row + 1], wanted)
        assert torch.equal(out_mask[row : row + 1], wanted_mask)
    first, other = (adapter.for_task(task)(embeds[:1], mask[:1])[0] for task in (0, 1))
    assert not torch.allclose(first, other)
    with torch.no_grad():  # copies, with the sources' hashes
        adapter.sources = ("ab", "cd", "ef")
        adapter.for_task(0).prompt_embeddings.zero_()
    assert adapter.prompt_embeddings[0].abs().min() > 0 and adapter.for_task(0).sources == adapter.sources


def test_rows_of_several_targets_have_to_name_theirs(init, make_batch):
    with pytest.raises(WrongInputs, match="ATTEMPT of 3 tasks: wanted each row's task, given none"):
        several(init)(*make_batch([3]))


def test_several_targets_start_from_as_many_or_from_one_prompt(init):
    source, target = several(init), build(init, num_tasks=3)
    assert target.start_from(source) == () and torch.equal(target.prompt_embeddings, source.prompt_embeddings)
    with pytest.raises(WrongSource, match="wanted an ATTEMPT of 3 tasks, given one of None"):
        build(init, num_tasks=3).start_from(build(init))
    fresh = build(init, num_tasks=3)
    fresh.start_from(PromptTuning(init[8:], num_virtual_tokens=4))
    assert torch.equal(fresh.prompt_embeddings, init[8:12].expand(3, -1, -1))
