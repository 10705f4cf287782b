import pytest
import torch
from torch.nn import functional as F

from dept_vl.adapters import PromptTuning
from dept_vl.adapters.adept import ADePT
from dept_vl.adapters.start import WrongSource
from dept_vl.backbones import load_backbone


@pytest.fixture
def trained(init) -> ADePT:
    adapter = ADePT(init, num_virtual_tokens=4, bottleneck=5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for seed, weight in enumerate(adapter.parameters()):
            weight.normal_(generator=torch.Generator().manual_seed(seed))
    return adapter.eval()


def test_the_published_size_is_76051():
    adapter = ADePT(torch.zeros(60, 768), num_virtual_tokens=60, bottleneck=19)
    assert sum(weight.numel() for weight in adapter.parameters()) == 76_051
    assert {name: sum(w.numel() for w in group) for name, group in adapter.param_groups().items()} == {
        "prompt": 46_080,
        "bottleneck": 29_971,
    }


def test_adept_starts_as_prompt_tuning(init, make_batch):
    batch = make_batch([3, 9])
    adept = ADePT(init, num_virtual_tokens=4, bottleneck=5)
    assert torch.equal(adept(*batch)[0], PromptTuning(init, num_virtual_tokens=4)(*batch)[0])
    assert adept.down.abs().max() <= 5**-0.5 and adept.down.abs().max() > 0.9 * 5**-0.5


def test_the_shift_is_the_bottleneck_of_the_token_wherever_it_stands(trained, init, make_batch):
    embeds, mask = make_batch([3])
    wanted = (embeds @ trained.down + trained.down_bias).clamp(min=0) @ trained.up + trained.up_bias
    out, _ = trained(embeds, mask)
    torch.testing.assert_close(out[:, 4:], embeds + wanted)
    turned, _ = trained(embeds.flip(1), mask)
    torch.testing.assert_close(turned[:, 4:], out[:, 4:].flip(1))


def test_a_table_over_the_vocabulary_gives_the_same_logits_and_leaves_the_decoders(byte_t5):
    backbone = load_backbone(str(byte_t5))
    rows = torch.randn(3, backbone.d_model)
    adapter = ADePT(rows, num_virtual_tokens=3, bottleneck=4).eval()
    with torch.no_grad():
        adapter.up.normal_()
    table = backbone.embedding_table
    before = table.detach().clone()
    folded = adapter.fold_tokens(table.detach())
    assert torch.equal(table, before) and not folded.requires_grad

    ids, labels = torch.tensor([[5, 9, 7, 5]]), torch.tensor([[8, 1]])
    mask = torch.ones_like(ids)
    live = backbone.logits(*adapter(backbone.embed(ids), mask, ids), labels)
    looked_up = PromptTuning(rows, num_virtual_tokens=3)(F.embedding(ids, folded), mask)
    torch.testing.assert_close(backbone.logits(*looked_up, labels), live, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(backbone.logits(*looked_up, labels), backbone.logits(backbone.embed(ids), mask, labels))


def test_it_starts_from_a_prompt_or_from_its_own_kind(init, trained, make_batch):
    larger = ADePT(init, num_virtual_tokens=4, bottleneck=7)
    larger.start_from(trained)
    torch.testing.assert_close(larger(*make_batch([3, 9]))[0], trained(*make_batch([3, 9]))[0])
    prompt = PromptTuning(init.flip(0), num_virtual_tokens=4)
    anew = ADePT(init, num_virtual_tokens=4, bottleneck=5)
    assert anew.start_from(prompt) == ("the token-wise bottleneck starts anew: the source has none",)
    assert torch.equal(anew.prompt_embeddings, prompt.prompt_embeddings)
    with pytest.raises(WrongSource, match="given ADePT, which reads the text"):
        prompt.start_from(trained)
