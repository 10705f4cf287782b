"""The laws of the shift, run over all registered adapters: those without one keep them by adding nothing."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dept_vl.adapters import Adapter
from dept_vl.adapters.contract import add_shift, content_rows

MAX_LENGTH = 6  # of the cases in conftest
Batch = Callable[..., tuple[Tensor, Tensor]]


def text_of(adapter: Adapter, out: Tensor) -> Tensor:
    return out[:, adapter.num_virtual_tokens :]


def test_left_and_right_padding_give_the_same_tokens(adapter, make_batch: Batch):
    lengths = [1, 3, 9, 5]
    tokens = []
    for side in ("right", "left"):
        out, mask = adapter(*make_batch(lengths, seq=11, side=side))
        tokens.append([row[real.bool()] for row, real in zip(out, mask, strict=True)])
    for right, left in zip(*tokens, strict=True):
        if adapter.reads_text:  # sums over the columns round as the pads lie
            torch.testing.assert_close(right, left)
        else:
            assert torch.equal(right, left)


def test_holes_in_the_mask_do_not_move_later_tokens(adapter, make_batch: Batch):
    embeds, mask = make_batch([5])
    spread = torch.tensor([1, 0, 1, 1, 0, 0, 1, 1, 0])
    holed = torch.full((1, 9, embeds.shape[2]), 0.25)
    holed[0, spread.bool()] = embeds[0]
    out, _ = adapter(embeds, mask)
    out_holed, _ = adapter(holed, spread[None])
    torch.testing.assert_close(text_of(adapter, out_holed)[0, spread.bool()], text_of(adapter, out)[0])


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("training", [True, False])
def test_pads_get_no_shift(adapter, side, training, make_batch: Batch):
    adapter.train(training)
    embeds, mask = make_batch([1, 3], seq=5, side=side)
    out, _ = adapter(embeds, mask)
    assert torch.equal(text_of(adapter, out)[mask == 0], embeds[mask == 0])


@pytest.mark.parametrize("length", [1, MAX_LENGTH - 1, MAX_LENGTH, MAX_LENGTH + 1, 3 * MAX_LENGTH])
def test_the_shift_is_sliced_and_ends_at_max_length(folding, length, make_batch: Batch):
    adapter = folding
    embeds, mask = make_batch([length])
    out, _ = adapter(embeds, mask)
    added = text_of(adapter, out)[0] - embeds[0]
    shift = adapter.fold().shift
    expected = torch.zeros_like(added)
    if shift is not None:
        reached = min(length, MAX_LENGTH)
        expected[:reached] = shift[:reached]
        assert shift[:reached].any(dim=1).all()
    torch.testing.assert_close(added, expected)
    assert torch.equal(text_of(adapter, out)[0, MAX_LENGTH:], embeds[0, MAX_LENGTH:])  # as with plain PT


@pytest.mark.parametrize("trained_length", [0, 2, MAX_LENGTH, 100])
def test_rows_that_training_never_reached_count_as_zero(folding, trained_length, make_batch: Batch):
    adapter, (embeds, mask) = folding, make_batch([4, 9])
    everything = adapter.fold().shift
    in_training, _ = adapter.train()(embeds, mask)

    if "max_length" not in adapter.config():
        return  # an adapter without a shift has nothing to observe
    adapter.load_state({"trained_length": trained_length})
    assert torch.equal(adapter(embeds, mask)[0], in_training)  # training uses, and so trains, all rows
    out, _ = adapter.eval()(embeds, mask)
    assert torch.equal(text_of(adapter, out)[:, trained_length:], embeds[:, trained_length:])
    torch.testing.assert_close(adapter.fold()(embeds, mask)[0], out)
    if everything is not None:
        kept = adapter.fold().shift
        assert kept.shape == everything.shape and not kept[trained_length:].any()
        torch.testing.assert_close(kept[:trained_length], everything[:trained_length])


def test_the_row_of_a_shift_is_the_content_position():
    mask = torch.tensor([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [0, 1, 0, 1, 0], [1, 1, 1, 1, 1]])
    expected = torch.tensor([[0, 1, 2, 3, 3], [3, 3, 0, 1, 2], [3, 0, 3, 1, 3], [0, 1, 2, 3, 3]])
    assert torch.equal(content_rows(mask, 3), expected)
    assert torch.equal(content_rows(mask.bool(), 3), expected)
    assert torch.equal(content_rows(5 * mask, 3), expected)  # any value but 0 is a real token


def test_a_shift_is_added_to_its_tokens_only():
    embeds = torch.zeros(1, 4, 2)
    out = add_shift(embeds, torch.tensor([[0, 1, 1, 1]]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert torch.equal(out, torch.tensor([[[0.0, 0.0], [1.0, 2.0], [3.0, 4.0], [0.0, 0.0]]]))
