import torch

from dept_vl.adapters import NoAdapter


def test_the_text_is_read_as_it_is(init, make_batch):
    embeds, mask = make_batch([3, 5])
    out, out_mask = NoAdapter(init)(embeds, mask)
    assert torch.equal(out, embeds) and torch.equal(out_mask, mask)


def test_it_has_no_weights_and_folds_to_an_empty_prompt(init):
    adapter = NoAdapter(init)
    assert not adapter.state_dict() and adapter.param_groups() == {}
    folded = adapter.fold()
    assert folded.prompt.shape == (0, init.shape[1]) and folded.shift is None


def test_an_empty_prompt_gives_plain_embeds(init, make_batch):
    embeds, mask = make_batch([3, 5])
    out, out_mask = NoAdapter(init).fold()(embeds, mask)
    assert torch.equal(out, embeds) and torch.equal(out_mask, mask)
