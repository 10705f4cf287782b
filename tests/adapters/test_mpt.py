import pytest
import torch

from dept_vl.adapters import PromptTuning
from dept_vl.adapters.mpt import MPT
from dept_vl.adapters.smop import SMoP
from dept_vl.adapters.start import WrongSource


def trained(init, seed=0) -> MPT:
    adapter = MPT(init, num_virtual_tokens=4)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in adapter.parameters():
            weight.normal_(generator=generator)
    return adapter


def test_the_published_size_is_77668():
    groups = MPT(torch.zeros(100, 768), num_virtual_tokens=100).param_groups()
    assert {name: sum(weight.numel() for weight in group) for name, group in groups.items()} == {
        "prompt": 76_800,
        "task": 868,
    }


def test_mpt_starts_as_prompt_tuning(init, make_batch):
    batch = make_batch([3, 9])
    assert torch.equal(MPT(init, num_virtual_tokens=4)(*batch)[0], PromptTuning(init, num_virtual_tokens=4)(*batch)[0])


def test_the_tasks_factor_has_rank_one_and_its_scale_moves_between_u_and_v(init):
    adapter = trained(init)
    factor = adapter.fold().prompt / adapter.prompt_embeddings.detach()
    assert torch.linalg.matrix_rank(factor, rtol=1e-4) == 1
    before = adapter.fold().prompt
    with torch.no_grad():
        adapter.task_u *= 4
        adapter.task_v /= 4
    torch.testing.assert_close(adapter.fold().prompt, before)


def test_it_starts_from_its_own_kind_or_from_a_prompt(init):
    source, target = trained(init), MPT(init, num_virtual_tokens=4)
    assert target.start_from(source) == () and torch.equal(target.fold().prompt, source.fold().prompt)
    prompt, anew = PromptTuning(init.flip(0), num_virtual_tokens=4), MPT(init, num_virtual_tokens=4)
    assert anew.start_from(prompt) == ("the task's factor starts at one: the source has none",)
    assert torch.equal(anew.fold().prompt, prompt.fold().prompt)
    with pytest.raises(WrongSource, match="SMoP, which reads the text"):
        anew.start_from(SMoP(init, num_virtual_tokens=2, num_prompts=2))
