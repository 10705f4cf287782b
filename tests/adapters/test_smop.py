import pytest
import torch

from dept_vl.adapters import build_adapter
from dept_vl.adapters.contract import TooFewInitRows
from dept_vl.adapters.smop import SMoP


@pytest.fixture
def smop(init) -> SMoP:
    return SMoP(init, num_virtual_tokens=2, num_prompts=3, generator=torch.Generator().manual_seed(0)).eval()


def test_the_published_size_is_18432():
    adapter = SMoP(torch.zeros(20, 768), num_virtual_tokens=5, num_prompts=4)
    assert sum(weight.numel() for weight in adapter.parameters()) == 18_432
    assert adapter.router.numel() == 3_072 and adapter.num_virtual_tokens == 5


def test_each_text_gets_the_prompt_that_the_router_chooses_times_its_probability(smop, make_batch):
    embeds, mask = make_batch([3, 5, 1, 4, 2])
    out, _ = smop(embeds, mask)
    seen = set()
    for row, length in enumerate([3, 5, 1, 4, 2]):
        shares = (smop.router @ embeds[row, :length].mean(dim=0)).softmax(dim=0)
        chosen = int(shares.argmax())
        torch.testing.assert_close(out[row, :2], shares[chosen] * smop.prompt_embeddings[chosen])
        seen.add(chosen)
    assert len(seen) > 1, "a router that always says the same tests nothing"


def test_neither_pads_nor_batch_mates_change_a_rows_prompt(smop, make_batch):
    embeds, mask = make_batch([3, 5], seq=9)
    together, _ = smop(embeds, mask)
    for row, length in enumerate([3, 5]):
        alone, _ = smop(embeds[row : row + 1, :length], mask[row : row + 1, :length])
        torch.testing.assert_close(alone[0, :2], together[row, :2])


def test_the_router_is_noisy_in_training_alone(smop, make_batch):
    batch = make_batch([3, 5])
    assert torch.equal(smop(*batch)[0], smop(*batch)[0])
    smop.train()
    torch.manual_seed(0)
    assert not torch.equal(smop(*batch)[0], smop(*batch)[0])


def test_a_prompt_that_no_text_chose_gets_no_gradient(smop, make_batch):
    smop(*make_batch([3]))[0].square().sum().backward()
    reached = smop.prompt_embeddings.grad.abs().sum(dim=(1, 2)) > 0
    assert reached.sum() == 1 and smop.router.grad.abs().sum() > 0


def test_the_router_starts_orthogonal_and_the_prompts_as_the_start_vectors(smop, init):
    torch.testing.assert_close(smop.router @ smop.router.T, torch.eye(3), rtol=1e-5, atol=1e-5)
    assert torch.equal(smop.prompt_embeddings.flatten(0, 1), init[:6])
    assert SMoP.start_rows({"num_virtual_tokens": 2, "num_prompts": 3}) == 6
    with pytest.raises(
        TooFewInitRows, match="SMoP: num_prompts x num_virtual_tokens=6 wants an init of at least 6 rows"
    ):
        build_adapter("smop", init[:5], {"num_virtual_tokens": 2, "num_prompts": 3})
