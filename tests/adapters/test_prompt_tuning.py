import pytest
import torch

from dept_vl.adapters import PromptTuning
from dept_vl.adapters.contract import BadAdapterSize, TooFewInitRows


def test_100_tokens_on_t5_base_are_76800_weights():
    adapter = PromptTuning(torch.zeros(100, 768), num_virtual_tokens=100)
    assert sum(weight.numel() for weight in adapter.parameters()) == 76_800


def test_the_prompt_is_the_first_rows_of_init_in_order(init, make_batch):
    embeds, mask = make_batch([3, 5])
    adapter = PromptTuning(init, num_virtual_tokens=4)
    assert torch.equal(adapter.prompt_embeddings, init[:4])
    out, _ = adapter(embeds, mask)
    assert torch.equal(out, torch.cat([init[:4].expand(2, -1, -1), embeds], dim=1))


def test_training_the_prompt_leaves_the_table(init):
    table = init.clone()
    adapter = PromptTuning(table, num_virtual_tokens=20)
    with torch.no_grad():
        adapter.prompt_embeddings.add_(1.0)
    assert torch.equal(table, init)


def test_its_state_has_pefts_key(init):
    assert list(PromptTuning(init, num_virtual_tokens=4).state_dict()) == ["prompt_embeddings"]


def test_no_tokens_are_nothing_to_train(init):
    message = r"PromptTuning: wanted num_virtual_tokens to be an integer >= 1, given 0"
    with pytest.raises(BadAdapterSize, match=message):
        PromptTuning(init, num_virtual_tokens=0)


def test_fewer_rows_than_tokens_say_what_to_do(init):
    with pytest.raises(TooFewInitRows, match="PromptTuning: num_virtual_tokens=21 .* given 20; give more rows"):
        PromptTuning(init, num_virtual_tokens=21)
