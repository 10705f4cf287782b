import pytest
import torch

from dept_vl.adapters import PromptTuning, from_config
from dept_vl.adapters.contract import WrongInputs
from dept_vl.adapters.mpt import MPT
from dept_vl.adapters.smop import SMoP
from dept_vl.adapters.start import WrongSource


def trained(init, seed=0, **arguments) -> MPT:
    adapter = MPT(init, num_virtual_tokens=4, **arguments)
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


def test_eight_tasks_train_10468_weights_each():
    adapter = from_config("mpt", 768, {"num_virtual_tokens": 100, "num_tasks": 8}, {}, device="meta")
    groups = {name: sum(weight.numel() for weight in group) for name, group in adapter.param_groups().items()}
    assert groups == {"prompt": 76_800, "task": 8 * 868} and sum(groups.values()) / 8 == 10_468


def test_each_row_reads_its_own_tasks_prompt(init, make_batch):
    adapter, (embeds, mask) = trained(init, num_tasks=3), make_batch([3, 9, 5, 4])
    tasks = torch.tensor([2, 0, 2, 1])
    out, out_mask = adapter(embeds, mask, None, tasks)
    for row, task in enumerate(tasks.tolist()):
        alone = adapter.for_task(task)
        wanted, wanted_mask = alone(embeds[row : row + 1], mask[row : row + 1])
        torch.testing.assert_close(out[row : row + 1], wanted)
        assert torch.equal(out_mask[row : row + 1], wanted_mask)
        folded = alone.fold().prompt
        assert torch.linalg.matrix_rank(folded / adapter.prompt_embeddings.detach(), rtol=1e-4) == 1
    assert not torch.allclose(adapter.for_task(0).fold().prompt, adapter.for_task(1).fold().prompt)
    with torch.no_grad():  # copies: what a task's adapter becomes does not reach the mixture's
        adapter.for_task(0).task_u.zero_()
    assert adapter.task_u.abs().min() > 0


def test_several_tasks_start_as_prompt_tuning_and_only_the_batchs_factors_learn(init, make_batch):
    adapter, batch = MPT(init, num_virtual_tokens=4, num_tasks=3), make_batch([3, 9])
    out = adapter(*batch, None, torch.tensor([2, 0]))[0]
    assert torch.equal(out, PromptTuning(init, num_virtual_tokens=4)(*batch)[0])
    out.square().sum().backward()
    moved = [adapter.task_u.grad.abs().sum(1) > 0, adapter.task_v.grad.abs().sum(1) > 0]
    assert [each.tolist() for each in moved] == [[True, False, True]] * 2


def test_rows_without_a_task_are_refused_and_there_is_nothing_to_fold(init, make_batch):
    adapter = trained(init, num_tasks=2)
    assert adapter.fold() is None and adapter.reads_text and not MPT(init, num_virtual_tokens=4).reads_text
    with pytest.raises(WrongInputs, match="MPT of 2 tasks: wanted each row's task, given none"):
        adapter(*make_batch([3]))


def test_a_target_starts_from_the_mean_of_its_sources_factors(init):
    source, target = trained(init, num_tasks=3), trained(init, seed=5)
    assert target.start_from(source) == ()
    assert torch.equal(target.prompt_embeddings, source.prompt_embeddings)
    torch.testing.assert_close(target.task_u.detach(), source.task_u.detach().mean(0))
    torch.testing.assert_close(target.task_v.detach(), source.task_v.detach().mean(0))
    same = MPT(init, num_virtual_tokens=4, num_tasks=3)
    assert same.start_from(source) == () and torch.equal(same.task_u, source.task_u)


def test_several_targets_start_from_the_mean_of_other_sources_factors(init):
    source = trained(init, num_tasks=3)
    for given in (source, source.for_task(1)):
        targets = MPT(init, num_virtual_tokens=4, num_tasks=2)
        assert targets.start_from(given) == ()
        assert torch.equal(targets.prompt_embeddings, source.prompt_embeddings)
        mean = source.task_u.detach().mean(0) if given is source else source.task_u.detach()[1]
        torch.testing.assert_close(targets.task_u.detach(), mean.expand(2, -1))
        mean = source.task_v.detach().mean(0) if given is source else source.task_v.detach()[1]
        torch.testing.assert_close(targets.task_v.detach(), mean.expand(2, -1))
