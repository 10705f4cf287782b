import torch

from dept_vl.adapters.vl_p_tuning import VLPTuning


def test_the_published_size_is_1261088_and_30720_folded():
    adapter = VLPTuning(torch.zeros(40, 768), num_virtual_tokens=40, bottleneck=800)
    assert sum(weight.numel() for weight in adapter.parameters()) == 1_261_088
    assert adapter.fold().prompt.numel() == 30_720


def test_the_prompt_is_the_mlp_of_the_embedding_alone(init):
    adapter = VLPTuning(init, num_virtual_tokens=4, bottleneck=5)
    down, _, up = adapter.mlp
    wanted = torch.tanh(init[:4] @ down.weight.T + down.bias) @ up.weight.T + up.bias
    torch.testing.assert_close(adapter.fold().prompt, wanted.detach())


def test_a_target_with_more_hidden_units_starts_as_its_source(init):
    source, target = (VLPTuning(init, num_virtual_tokens=4, bottleneck=size) for size in (3, 5))
    target.start_from(source)
    torch.testing.assert_close(target.fold().prompt, source.fold().prompt)
    target.pair(None).prompt.square().sum().backward()
    assert all(weight.grad.any() for weight in target.parameters())
