import pytest
import torch

from dept_vl.backbones.prompt_cache import PromptCache, cache_name


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@torch.no_grad()
def test_what_is_remembered_is_the_prompt_as_it_was(load, name):
    """Written to in place, the caller's tensor is another prompt."""
    model, cache, prompts = load(name).model, PromptCache(), torch.randn(1, 3, 32).repeat(2, 1, 1)
    first = cache.expanded(model, prompts)
    assert [tuple(layer.keys.shape) for layer in cache.expanded(model, prompts[:1], repeats=3).layers][0][::2] == (3, 3)
    assert cache.computed == 1
    prompts += torch.linspace(-3, 3, 32)
    second = cache.expanded(model, prompts)
    assert cache.computed == 2 and first.get_seq_length() == second.get_seq_length() == 3
    assert all(not torch.equal(a.keys, b.keys) for a, b in zip(first.layers, second.layers, strict=True))


@torch.no_grad()
def test_a_grown_copy_leaves_the_next_one_as_it_was(load):
    model, cache, prompts = load("gpt2").model, PromptCache(), torch.randn(1, 3, 32).repeat(2, 1, 1)
    first = cache.expanded(model, prompts)
    before = [layer.keys.clone() for layer in first.layers]
    model(inputs_embeds=torch.randn(2, 4, 32), use_cache=True, **{cache_name(model): first})
    for layer in first.layers:
        layer.keys.zero_()
    assert first.get_seq_length() == 7
    assert all(torch.equal(a, b.keys) for a, b in zip(before, cache.expanded(model, prompts).layers, strict=True))
