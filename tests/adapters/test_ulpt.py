import pytest
import torch

from dept_vl.adapters import PromptTuning
from dept_vl.adapters.ulpt import ULPT


@pytest.mark.parametrize("r, size", [(2, 1_736), (16, 3_136), (64, 7_936), (256, 27_136)])
def test_sizes_of_the_paper(r, size):
    adapter = ULPT(torch.zeros(0, 768), num_virtual_tokens=100, r=r)
    assert sum(weight.numel() for weight in adapter.parameters()) == size


def test_the_prompt_is_the_scaled_and_shifted_projection(init):
    adapter = ULPT(init, num_virtual_tokens=5, r=3)
    with torch.no_grad():
        adapter.scale.copy_(init[0])
        adapter.shift.copy_(init[1])
    wanted = init[0] * (adapter.prompt_embedding_Z @ adapter.projection_R) + init[1]
    torch.testing.assert_close(adapter.fold().prompt, wanted.detach())


def test_it_starts_as_the_released_code_draws_it():
    adapter = ULPT(torch.zeros(0, 768), num_virtual_tokens=100, r=64, generator=torch.Generator().manual_seed(0))
    assert adapter.prompt_embedding_Z.std().item() == pytest.approx(1, rel=0.05)
    assert adapter.projection_R.abs().max().item() == pytest.approx((6 / 832) ** 0.5, rel=0.01)
    assert adapter.fold().prompt.std().item() == pytest.approx((2 * 64 / 832) ** 0.5, rel=0.05)
    assert adapter.scale.eq(1).all() and not adapter.shift.any()


def test_the_random_matrix_is_saved_and_never_trains(init, make_batch):
    adapter = ULPT(init, num_virtual_tokens=5, r=3)
    adapter(*make_batch([3]))[0].sum().backward()
    assert "projection_R" in adapter.state_dict() and "projection_R" not in dict(adapter.named_parameters())
    assert not adapter.projection_R.requires_grad and adapter.projection_R.grad is None


def test_a_larger_target_starts_as_its_source_and_prompt_tuning_from_its_fold(init):
    source, larger = ULPT(init, num_virtual_tokens=3, r=2), ULPT(init, num_virtual_tokens=4, r=3)
    larger.start_from(source)
    torch.testing.assert_close(larger.fold().prompt[:3], source.fold().prompt)
    plain = PromptTuning(init, num_virtual_tokens=3)
    plain.start_from(source)
    assert torch.equal(plain.prompt_embeddings, source.fold().prompt)
    larger.pair(None).prompt.sum().backward()
    assert larger.prompt_embedding_Z.grad.any(dim=0).all()  # the new rank learns
