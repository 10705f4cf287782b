import pytest
import torch

from dept_vl.adapters.accept import ACCEPT
from dept_vl.adapters.contract import BadAdapterSize
from dept_vl.adapters.start import WrongSource


def accept(width=8, m=4, s=6, r=3, *, t=4, u=2, seed=0):
    sizes = {"num_virtual_tokens": m, "max_length": s, "r": r, "prompt_width": t, "shift_width": u}
    return ACCEPT(torch.zeros(0, width), **sizes, generator=torch.Generator().manual_seed(seed))


def test_the_published_size_is_74880():
    adapter = accept(768, 60, 256, 20, t=32, u=256)
    assert {name: sum(weight.numel() for weight in group) for name, group in adapter.param_groups().items()} == {
        "prompt": 44_160,
        "low_rank": 30_720,
    }


def test_each_sub_vector_is_a_mixture_of_its_sub_spaces_codewords():
    adapter = accept()
    folded = adapter.fold()
    for row, space in ((0, 0), (3, 1)):
        wanted = adapter.prompt_weights[row, space] @ adapter.prompt_codebook[space]  # [4]
        torch.testing.assert_close(folded.prompt[row, 4 * space : 4 * space + 4], wanted.detach())
    for row, space in ((0, 0), (5, 3)):
        wanted = adapter.shift_weights[row, space] @ adapter.shift_codebook[space]  # [2]
        torch.testing.assert_close(folded.shift[row, 2 * space : 2 * space + 2], wanted.detach())


def test_a_codebook_touches_its_own_columns_alone():
    adapter = accept()
    before = adapter.fold()
    with torch.no_grad():
        adapter.prompt_codebook[1] += 1
        adapter.shift_codebook[2] += 1
    after = adapter.fold()
    assert (before.prompt != after.prompt).any(dim=0).tolist() == [False] * 4 + [True] * 4
    assert (before.shift != after.shift).any(dim=0).tolist() == [False] * 4 + [True] * 2 + [False] * 2


def test_it_starts_within_the_bounds_of_the_released_code_and_not_as_prompt_tuning():
    adapter = accept(768, 60, 256, 20, t=32, u=256)
    bounds = {"prompt_weights": 480**-0.5, "prompt_codebook": 640**-0.5, "shift_weights": 60**-0.5}
    for name, bound in (bounds | {"shift_codebook": (6 / 5120) ** 0.5}).items():
        assert 0.99 * bound < adapter.get_parameter(name).abs().max() <= bound, name
    assert adapter.fold().shift.any(dim=1).all()


def test_rows_that_training_never_reached_stay_away_in_a_larger_target():
    source, target = accept(), accept(m=5, s=8, r=5, seed=1)
    source.observe(4)
    target.start_from(source)
    kept, folded = source.eval().fold(), target.eval().fold()
    torch.testing.assert_close(folded.prompt[:4], kept.prompt)
    torch.testing.assert_close(folded.shift[:6], kept.shift)
    assert target.trained_length == 4 and not target.train().pair(None).shift[4:].any()


def test_a_width_that_does_not_divide_is_refused():
    with pytest.raises(BadAdapterSize, match="ACCEPT: wanted shift_width to divide d_model=8, given 3"):
        accept(u=3)
    with pytest.raises(WrongSource, match="wanted a source with prompt_width=4 and shift_width=2, given 2 and 2"):
        accept().start_from(accept(t=2))
