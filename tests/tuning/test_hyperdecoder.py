"""HyperDecoder: what the decoder's adapters are made from, how often, and what is left without them."""

import pickle

import pytest
import torch
import torch.nn.functional as F

from dept_vl.backbones import Submodel, partial
from dept_vl.tuning import BadTuning
from dept_vl.tuning.by_example import Examples
from tests.tiny_tunings import attached, make, network_with, read, rows

TIGHT = {"rtol": 1e-4, "atol": 2e-5}


@pytest.fixture(params=["t5", "t5_v1_1"])
def t5(request, load):
    return load(request.param)


def test_an_examples_adapter_is_the_papers_equation(t5):
    tuning = attached("hyperdecoder", t5, random=True)
    embeds, mask, labels = rows(t5)
    encoded = t5.model.encoder(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
    t5.logits(embeds, mask, labels)
    w = {name.removeprefix("decoder.hypernetwork."): each for name, each in tuning.weights.named_parameters()}
    hidden = torch.randn(2, 3, t5.d_model, generator=torch.Generator().manual_seed(4))
    given = tuning._examples.adapt(1, hidden)
    for row, length in enumerate((6, 3)):
        mean = encoded[row, :length].mean(0)
        read_by_mlp = w["mlp.2.weight"] @ F.relu(w["mlp.0.weight"] @ mean + w["mlp.0.bias"]) + w["mlp.2.bias"]
        features = F.relu(w["hidden.weight"] @ torch.cat([read_by_mlp, w["layers"][1]]) + w["hidden.bias"])
        down, down_bias, up, up_bias = (
            w[f"bottleneck.{name}.weight"] @ features + w[f"bottleneck.{name}.bias"]
            for name in ("down", "down_bias", "up", "up_bias")
        )
        inner = F.relu(hidden[row] @ down.view(4, -1).T + down_bias)
        torch.testing.assert_close(given[row], inner @ up.view(-1, 4).T + up_bias, **TIGHT)


def test_the_encoders_adapters_stand_beside_its_feed_forwards(t5):
    """h + FF(norm(h)) + A(h): they read what the norm has not seen, and cross-attention and decoder have none."""
    tuning = attached("hyperdecoder", t5, random=True)
    layer = t5.model.encoder.block[1].layer[1]
    w = dict(tuning.weights.encoder.block.get_submodule("1.layer.1").named_parameters())
    hidden = torch.randn(1, 3, t5.d_model, generator=torch.Generator().manual_seed(4))
    added = F.relu(hidden @ w["down.weight"].T + w["down.bias"]) @ w["up.weight"].T + w["up.bias"]
    plain = hidden + layer.DenseReluDense(layer.layer_norm(hidden))
    torch.testing.assert_close(layer(hidden), plain + added, **TIGHT)
    assert len(tuning.param_groups()["bottleneck"]) == 2 * 4


def test_without_generated_weights_the_decoder_is_the_frozen_one(t5):
    embeds, mask, labels = rows(t5)
    tuning = attached("hyperdecoder", t5, random=True)
    with torch.no_grad():
        for weight in tuning.weights.decoder.hypernetwork.bottleneck.parameters():
            weight.zero_()
        encoded = t5.model.encoder(inputs_embeds=embeds, attention_mask=mask)
        given = t5.logits(embeds, mask, labels)
        tuning.detach()
        start = t5.model.prepare_decoder_input_ids_from_labels(labels)
        wanted = t5.model(encoder_outputs=encoded, attention_mask=mask, decoder_input_ids=start).logits
    assert torch.equal(given, wanted) and not torch.allclose(given, read(t5), **TIGHT)


def test_an_answer_generates_its_weights_once_for_all_steps_and_beams(t5, monkeypatch):
    tuning = attached("hyperdecoder", t5, random=True)
    embeds, mask, _ = rows(t5)
    calls: list[int] = []
    tuning._examples.hypernetwork.register_forward_hook(lambda *given: calls.append(len(given[1][0])))

    def search(beams: int) -> list[list[int]]:
        calls.clear()
        return t5.generate(embeds, mask, max_new_tokens=4, num_beams=beams).tolist()

    search(1)
    assert calls == [2, 2]  # two layers, two examples
    found = search(3)
    assert calls == [2, 2]
    monkeypatch.setattr(Examples, "_beams", lambda *given: 1)
    assert search(3) == found and calls == [6, 6]
    monkeypatch.setattr(Examples, "_same_pass", lambda *given: False)
    assert search(3) == found and calls == [6, 6] * 4  # as the reference does, in each of four steps


def test_beams_are_not_guessed_from_the_number_of_rows(t5):
    """Twice as many rows as the encoder last had, but other ones."""
    attached("hyperdecoder", t5, random=True)
    embeds, mask, labels = rows(t5)
    wanted, start = read(t5), t5.model.prepare_decoder_input_ids_from_labels(labels)
    with torch.no_grad():
        encoded = t5.model.encoder(inputs_embeds=embeds, attention_mask=mask)
        t5.model.encoder(inputs_embeds=embeds[:1], attention_mask=mask[:1])
        given = t5.model(encoder_outputs=encoded, attention_mask=mask, decoder_input_ids=start).logits
    torch.testing.assert_close(given, wanted, **TIGHT)


def test_what_is_kept_is_not_kept_for_other_weights_or_another_mask(t5):
    tuning = attached("hyperdecoder", t5, random=True)
    embeds, mask, labels = rows(t5)
    start = t5.model.prepare_decoder_input_ids_from_labels(labels)
    with torch.no_grad():
        encoded = t5.model.encoder(inputs_embeds=embeds, attention_mask=mask)

        def means(mask: torch.Tensor) -> torch.Tensor:
            t5.model(encoder_outputs=encoded, attention_mask=mask, decoder_input_ids=start)
            return tuning._examples.kept[0].down.clone()

        first = means(mask)
        assert torch.equal(means(mask), first) and not torch.equal(means(torch.ones_like(mask)), first)
        assert torch.equal(means(mask), first)
        tuning.weights.decoder.hypernetwork.layers.add_(1.0)
        assert not torch.allclose(means(mask), first, **TIGHT)
    network_with(tuning, t5).train()
    assert not tuning._examples.kept and tuning._examples._mean is None


def test_narrow_feed_forwards_keep_what_stands_beside_them(load):
    backbone, narrow = load(), Submodel((0, 1), (0, 1), 8, 8)
    plain = partial(backbone, narrow).logits(*rows(backbone))
    tuning = attached("hyperdecoder", backbone, random=True)
    assert not torch.allclose(partial(backbone, narrow).logits(*rows(backbone)), plain, **TIGHT)
    with torch.no_grad():
        for weight in tuning.parameters():
            weight.zero_()
    torch.testing.assert_close(partial(backbone, narrow).logits(*rows(backbone)), plain)


@pytest.mark.parametrize("name", ["hyperformer", "hyperdecoder"])
def test_a_model_with_it_can_be_pickled(name, load):
    backbone = load()
    attached(name, backbone, random=True)
    with torch.no_grad():
        wanted = read(backbone)
        backbone.model = pickle.loads(pickle.dumps(backbone.model))
        assert torch.equal(read(backbone), wanted)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_model_without_an_encoder_is_refused_by_name(kind, load):
    backbone = load(kind)
    frozen = read(backbone)
    with pytest.raises(BadTuning, match=f"HyperDecoder: wanted a model with an encoder .*, given a {kind} model"):
        make("hyperdecoder").attach(backbone)
    assert backbone.attached is None and torch.equal(read(backbone), frozen)
