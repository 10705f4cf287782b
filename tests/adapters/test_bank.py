import pytest
import torch

from dept_vl.adapters import BASE, DPT, DePT, Folded, FoldedBank, NoAdapter, PromptTuning
from dept_vl.adapters.bank import UnknownBankRow


@pytest.fixture
def adapters(init) -> list[Folded]:
    """Prompts of 4, 7, 2, 0 and 0 tokens; shifts of none, 6, 3, 5 and none rows."""
    made = [
        PromptTuning(init, num_virtual_tokens=4),
        DePT(init, num_virtual_tokens=7, r=2, max_length=6),
        DePT(init[9:], num_virtual_tokens=2, r=3, max_length=3, lora_alpha=None),
        DePT(init, num_virtual_tokens=0, r=1, max_length=5),
        NoAdapter(init),
    ]
    for adapter in made[1:4]:
        with torch.no_grad():
            adapter.lora_embedding_B.copy_(init[-adapter.r :])
    return [adapter.fold() for adapter in made]


BASE_MODEL = Folded(torch.zeros(0, 8), None)
ROWS = [1, BASE, 0, 3, 2, 4, 1]
LENGTHS = [9, 4, 1, 6, 5, 3, 2]


def alone(adapters, embeds, mask, i):
    adapter = BASE_MODEL if ROWS[i] == BASE else adapters[ROWS[i]]
    out, out_mask = adapter(embeds[i : i + 1], mask[i : i + 1])
    return out[0], out_mask[0]


@pytest.mark.parametrize("text_side", ["right", "left"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_padded_right_each_row_starts_with_what_its_adapter_alone_gives(adapters, dtype, text_side, make_batch):
    embeds, mask = make_batch(LENGTHS, seq=10, side=text_side)
    embeds = embeds.to(dtype)
    out, out_mask = FoldedBank(adapters)(embeds, mask, torch.tensor(ROWS))
    assert out.shape[1] == 7 + 10 and out.dtype == dtype and out_mask.dtype == mask.dtype
    for i in range(len(ROWS)):
        row, row_mask = alone(adapters, embeds, mask, i)
        assert torch.equal(out[i, : len(row)], row) and torch.equal(out_mask[i, : len(row)], row_mask)
        assert not out_mask[i, len(row) :].any() and not out[i, len(row) :].any()


@pytest.mark.parametrize("text_side", ["right", "left"])
def test_padded_left_each_row_ends_with_what_its_adapter_alone_gives(adapters, text_side, make_batch):
    embeds, mask = make_batch(LENGTHS, seq=10, side=text_side)
    out, out_mask = FoldedBank(adapters, padding_side="left")(embeds, mask, torch.tensor(ROWS))
    for i in range(len(ROWS)):
        row, row_mask = alone(adapters, embeds, mask, i)
        pads = out.shape[1] - len(row)
        assert torch.equal(out[i, pads:], row) and torch.equal(out_mask[i, pads:], row_mask)
        assert not out_mask[i, :pads].any() and not out[i, :pads].any()


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_bank_of_one_equals_the_adapter(side, adapters, make_batch):
    embeds, mask = make_batch([3, 9], side=side)
    for folded in adapters:
        out, out_mask = FoldedBank([folded], padding_side=side)(embeds, mask, torch.tensor([0, 0]))
        expected, expected_mask = folded(embeds, mask)
        assert torch.equal(out, expected) and torch.equal(out_mask, expected_mask)


def test_the_base_model_reads_the_text_as_it_is(adapters, make_batch):
    embeds, mask = make_batch([3, 9])
    out, out_mask = FoldedBank(adapters)(embeds, mask, torch.tensor([BASE, BASE]))
    assert torch.equal(out[:, :9], embeds) and torch.equal(out_mask[:, :9], mask) and not out_mask[:, 9:].any()


def test_arguments_are_not_written(adapters, make_batch):
    embeds, mask = make_batch([3, 9])
    rows = torch.tensor([BASE, 1])
    before = embeds.clone(), mask.clone(), rows.clone()
    FoldedBank(adapters)(embeds, mask, rows)
    assert all(torch.equal(now, then) for now, then in zip((embeds, mask, rows), before, strict=True))


@pytest.mark.parametrize("row", [-2, 5])
def test_a_row_outside_the_bank_is_refused(row, adapters, make_batch):
    bank = FoldedBank(adapters)
    assert len(bank) == 5
    message = rf"FoldedBank: wanted rows from -1 \(the base model\) to 4, given \[{row}\]"
    with pytest.raises(UnknownBankRow, match=message):
        bank(*make_batch([3, 9]), torch.tensor([0, row]))


def test_adapters_of_several_widths_are_refused(init):
    narrow = DPT(init[:, :5], num_virtual_tokens=2, r=1).fold()
    with pytest.raises(ValueError, match=r"wanted one or more adapters of one token_dim, given widths \[8, 5\]"):
        FoldedBank([NoAdapter(init).fold(), narrow])
    with pytest.raises(ValueError, match=r"given widths \[\]"):
        FoldedBank([])
