import pytest
import torch

from dept_vl.adapters.contract import BadAdapterSize
from dept_vl.adapters.p_tuning import PTuning


@pytest.mark.parametrize("num_virtual_tokens", [9, 100])
def test_the_encoder_has_8271360_weights_on_t5_base(num_virtual_tokens):
    with torch.device("meta"):
        adapter = PTuning(torch.zeros(100, 768), num_virtual_tokens=num_virtual_tokens)
    assert sum(weight.numel() for weight in adapter.parameters()) == 8_271_360 + 768 * num_virtual_tokens


def test_the_prompt_is_the_mlp_of_both_directions(init):
    adapter = PTuning(init, num_virtual_tokens=4)
    hidden, _ = adapter.lstm(init[:4].unsqueeze(1))  # [seq, batch, d_model]
    assert hidden.shape == (4, 1, init.shape[1])
    first, _, second = adapter.mlp
    wanted = torch.relu(hidden[:, 0] @ first.weight.T + first.bias) @ second.weight.T + second.bias
    torch.testing.assert_close(adapter.fold().prompt, wanted.detach())


def test_every_token_of_the_prompt_reads_all_others(init):
    adapter = PTuning(init, num_virtual_tokens=4)
    before = adapter.fold().prompt
    for token in range(4):
        with torch.no_grad():
            adapter.prompt_embeddings[token] += 1
        assert (adapter.fold().prompt != before).any(dim=1).all()


def test_the_lstm_starts_in_torchs_distribution():
    adapter = PTuning(torch.zeros(4, 128), num_virtual_tokens=4, generator=torch.Generator().manual_seed(0))
    for name, weight in adapter.lstm.named_parameters():
        assert weight.abs().max() <= 64**-0.5 and weight.std().item() == pytest.approx((64 * 3) ** -0.5, rel=0.1), name


def test_an_odd_width_is_refused():
    with pytest.raises(BadAdapterSize, match="PTuning: wanted an even d_model, half of it for each direction, given 7"):
        PTuning(torch.zeros(4, 7), num_virtual_tokens=4)
