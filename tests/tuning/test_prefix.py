"""Prefixes: what they leave alone, what they are equal to, and what is computed once."""

import functools
from typing import Any

import pytest
import torch
from torch import nn

from dept_vl.backbones import Seq2SeqBackbone, load_backbone
from dept_vl.backbones.causal import TooManyPositions
from dept_vl.backbones.prompt_cache import cache_name
from dept_vl.tuning import BadTuning
from dept_vl.tuning.prefix_weights import whole_prefix
from tests.tiny_tunings import MODELS, attached, make, read, rows

CAUSAL = ("gpt2", "llama")


@pytest.fixture
def sdpa(folders):
    return lambda kind: load_backbone(str(folders[kind]), kind=MODELS[kind], attn_implementation="sdpa")


def attentions(backbone) -> dict[str, nn.Module]:
    """Those that read a prefix."""
    return {name: each for name, each in backbone.model.named_modules() if "prefix" in vars(each)}


def mask_prefixes(backbone, only: str = "") -> None:
    """Let no query see the columns of a prefix, in the attentions whose names have `only` in them."""
    for name, each in attentions(backbone).items():
        if only in name:
            each.prefix.inner = functools.partial(_masked, each.prefix.inner, slice(len(each.prefix.prefix())))


def _masked(inner, columns: slice, module, query, key, value, mask, **more: Any) -> Any:
    mask = torch.zeros(1, 1, query.shape[2], key.shape[2]) if mask is None else mask.clone()
    mask[..., columns] = False if mask.dtype == torch.bool else torch.finfo(mask.dtype).min
    return inner(module, query, key, value, mask, **more)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_with_its_columns_masked_the_model_is_the_frozen_one(implementation, kind, load, sdpa):
    """Neither a position, nor a relative bias, nor a mask of a real token has moved, in training as in generation. The
    logits differ by the rounding of sums that are longer by zeros."""
    backbone = load(kind) if implementation == "eager" else sdpa(kind)
    embeds, mask, _ = rows(backbone)
    full = torch.ones_like(mask)  # of which sdpa makes no mask
    labels = torch.tensor([[3, 4, 5], [6, 7, 8]])
    frozen = [backbone.logits(embeds, each, labels) for each in (mask, full)]
    answers = backbone.generate(embeds, mask, max_new_tokens=4)
    attached("prefix", backbone, random=True)
    assert not torch.allclose(backbone.logits(embeds, mask, labels), frozen[0], atol=1e-2)
    mask_prefixes(backbone)
    for wanted, each in zip(frozen, (mask, full), strict=True):
        torch.testing.assert_close(backbone.logits(embeds, each, labels), wanted, rtol=1e-5, atol=1e-5)
    assert torch.equal(backbone.generate(embeds, mask, max_new_tokens=4), answers)


def test_sdpa_is_eager(kind, load, sdpa):
    answers = []
    for backbone in (load(kind), sdpa(kind)):
        attached("p_tuning_v2", backbone, random=True)
        embeds, mask, labels = rows(backbone)
        logits = [backbone.logits(embeds, each, labels) for each in (mask, torch.ones_like(mask))]
        answers.append([*logits, backbone.generate(embeds, mask, max_new_tokens=4, num_beams=2).float()])
    for first, second in zip(*answers, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("kind", CAUSAL)
def test_the_keys_and_values_of_tokens_are_those_tokens_in_front(kind, load):
    """A prefix that takes positions, with the values that a prompt has in the model's cache, is that prompt."""
    backbone = load(kind)
    embeds, mask, labels = rows(backbone)
    prompt = torch.randn(1, 2, backbone.d_model, generator=torch.Generator().manual_seed(7))
    longer = torch.cat([prompt.expand(2, -1, -1), embeds], dim=1), nn.functional.pad(mask, (2, 0), value=1)
    wanted, said = backbone.logits(*longer, labels), backbone.generate(*longer, max_new_tokens=4)
    cache = backbone.model(inputs_embeds=prompt, use_cache=True)[cache_name(backbone.model)]
    tuning = attached("p_tuning_v2", backbone, prefix_positions=True)
    layers = [torch.stack([layer.keys[0], layer.values[0]]).transpose(1, 2) for layer in cache.layers]
    with torch.no_grad():
        tuning.get_parameter("weights.decoder.keys_values").copy_(torch.stack(layers).permute(2, 0, 1, 3, 4))
    torch.testing.assert_close(backbone.logits(embeds, mask, labels), wanted, rtol=1e-4, atol=2e-5)
    assert torch.equal(backbone.generate(embeds, mask, max_new_tokens=4), said)


def test_the_encoders_columns_in_the_cross_attentions_prefix_are_those_columns(load):
    backbone = load()
    embeds, _, labels = rows(backbone)
    row = embeds[:1], torch.ones(1, 6, dtype=torch.int64), labels[:1]
    wanted = backbone.logits(*row)
    states = backbone.model.encoder(inputs_embeds=embeds[:1]).last_hidden_state
    cross = [block.layer[1].EncDecAttention for block in backbone.model.decoder.block]
    layers = [torch.stack([each.k(states), each.v(states)])[:, 0, :2] for each in cross]  # [2, prompt, inner]
    tuning = attached("p_tuning_v2", backbone)
    own = tuning.get_parameter("weights.cross.keys_values")
    with torch.no_grad():
        own.copy_(torch.stack(layers).permute(2, 0, 1, 3).reshape(own.shape))
    mask_prefixes(backbone, "SelfAttention")
    for each in cross:  # the text's first two columns, seen through the prefix alone
        each.prefix.inner = functools.partial(_masked, each.prefix.inner, slice(2, 4))
    torch.testing.assert_close(backbone.logits(*row), wanted, rtol=1e-4, atol=2e-5)


def test_every_place_reads_its_prefix(load):
    """Self-attention of both stacks and cross-attention: each prefix alone moves the logits."""
    backbone = load()
    tuning = attached("p_tuning_v2", backbone)
    before = read(backbone)
    for place in ("encoder", "decoder", "cross"):
        weight = tuning.get_parameter(f"weights.{place}.keys_values")
        for layer in range(weight.shape[1]):
            with torch.no_grad():
                weight[:, layer] += 1
            after = read(backbone)
            assert not torch.allclose(after, before, atol=1e-4)
            before = after


def test_the_projection_folds_and_is_computed_once(kind, load):
    backbone = load(kind)
    tuning = attached("prefix", backbone, random=True)
    trained = read(backbone)
    prefixes = tuning._added
    layers = [len(each.up) for each in prefixes]
    assert [each.computed for each in prefixes] == layers
    assert torch.equal(read(backbone), trained) and [each.computed for each in prefixes] == layers
    tuning.train()  # by dropout, and by weights that move
    read(backbone)
    assert all(each.computed > number for each, number in zip(prefixes, layers, strict=True))
    tuning.eval()
    assert torch.equal(read(backbone), trained)
    states = {each.partition(".")[0]: {} for each, _ in tuning.weights.named_parameters()}
    for name, weight in tuning.weights.named_parameters():
        states[name.partition(".")[0]][name.partition(".")[2]] = weight.detach()
    tuning.detach()
    flat = make("prefix", prefix_projection=False)
    flat.hold({f"weights.{place}.keys_values": whole_prefix(each) for place, each in states.items()})
    flat.eval().attach(backbone)
    torch.testing.assert_close(read(backbone), trained, rtol=1e-4, atol=2e-5)


def test_what_was_computed_goes_when_a_weight_changes(load):
    backbone = load()
    tuning = attached("prefix", backbone)
    before = read(backbone)
    with torch.no_grad():
        tuning.get_parameter("weights.cross.embedding").add_(1)
    after = read(backbone)
    assert not torch.allclose(after, before, atol=1e-3)
    embeds, mask, labels = rows(backbone)
    torch.testing.assert_close(backbone.logits(embeds, mask, labels), after)  # with a gradient it is not kept
    backbone.loss(embeds, mask, labels).sum().backward()
    assert tuning.get_parameter("weights.cross.embedding").grad.abs().sum() > 0


@pytest.mark.parametrize("kind", CAUSAL)
@pytest.mark.parametrize("prefix_positions", [False, True])
def test_a_causal_models_kept_prompt_reads_the_prefix(kind, prefix_positions, load):
    backbone = load(kind)
    attached("prefix", backbone, random=True, prefix_positions=prefix_positions)
    embeds, mask, _ = rows(backbone)
    embeds = torch.cat([embeds[:1, :2].expand(2, -1, -1), embeds], dim=1)
    mask, paths = nn.functional.pad(mask, (2, 0), value=1), torch.tensor([[3, 4], [5, 6]])
    kept = backbone.next_token_logits(embeds, mask, paths, prompt_length=2)
    assert backbone.prompt_cache.computed == 1
    torch.testing.assert_close(kept, backbone.next_token_logits(embeds, mask, paths), rtol=1e-4, atol=2e-5)
    answers = [backbone.generate(embeds, mask, max_new_tokens=4, prompt_length=each) for each in (0, 2)]
    assert torch.equal(*answers)


def test_recomputed_layers_give_the_same_gradients(kind, load):
    gradients = []
    for recompute in (False, True):
        backbone = load(kind)
        tuning = attached("prefix", backbone, random=True, prefix_dropout=0.0)
        if recompute:
            backbone.checkpoint_activations()
        backbone.recompute(True)
        backbone.loss(*rows(backbone)).mean().backward()
        gradients.append([weight.grad for weight in tuning.parameters()])
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second)


@pytest.mark.parametrize("kind", ["mt5", "umt5"])
def test_other_t5s(kind):
    import transformers

    config = {"mt5": transformers.MT5Config, "umt5": transformers.UMT5Config}[kind](
        vocab_size=32, d_model=16, d_kv=8, d_ff=16, num_layers=2, num_heads=4, decoder_start_token_id=0
    )
    torch.manual_seed(0)
    model = {"mt5": transformers.MT5ForConditionalGeneration, "umt5": transformers.UMT5ForConditionalGeneration}[kind]
    backbone = Seq2SeqBackbone(model(config), name=kind)
    frozen = read(backbone)
    tuning = attached("p_tuning_v2", backbone)
    assert len(attentions(backbone)) == 6
    assert not torch.allclose(read(backbone), frozen, atol=1e-3)
    mask_prefixes(backbone)
    torch.testing.assert_close(read(backbone), frozen, rtol=0, atol=1e-5)
    tuning.detach()
    assert torch.equal(read(backbone), frozen) and not attentions(backbone)


def test_positions_behind_the_prefix_are_fewer_for_a_row(load):
    backbone = load("gpt2")
    most = backbone.max_positions
    embeds = torch.zeros(1, most - 1, backbone.d_model)
    mask = torch.ones(1, most - 1, dtype=torch.int64)
    tuning = attached("p_tuning_v2", backbone, prefix_positions=True)
    with pytest.raises(TooManyPositions, match=f"wanted at most {most - 2} positions"):
        backbone.generate(embeds, mask, max_new_tokens=1)
    tuning.detach()
    backbone.generate(embeds, mask, max_new_tokens=1)
    attached("p_tuning_v2", backbone)
    backbone.generate(embeds, mask, max_new_tokens=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_virtual_tokens": 0}, "PrefixTuning: wanted num_virtual_tokens to be an integer >= 1, given 0"),
        ({"encoder_hidden_size": 0}, "wanted encoder_hidden_size to be an integer >= 1, given 0"),
        ({"prefix_dropout": 1}, "wanted prefix_dropout from 0 to below 1, given 1"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(BadTuning, match=message):
        make("prefix", **arguments)


def test_what_does_not_fit_the_model_is_refused_and_leaves_no_trace(load):
    backbone = load()
    frozen = read(backbone)
    with pytest.raises(BadTuning, match="PrefixTuning: wanted prefix_positions on a decoder-only model, given t5"):
        make("prefix", prefix_positions=True).attach(backbone)
    backbone.model.decoder.block[1].layer[0].SelfAttention.config._attn_implementation = "flex_attention"
    with pytest.raises(BadTuning, match="wanted attn_implementation eager or sdpa, given flex_attention"):
        make("prefix").attach(backbone)
    backbone.model.decoder.block[1].layer[0].SelfAttention.config._attn_implementation = "eager"
    assert torch.equal(read(backbone), frozen) and not attentions(backbone) and backbone.attached is None


def test_what_was_computed_goes_when_the_weights_are_moved(load):
    """`to` and `cuda` put other values behind the same weights, which no version counts."""
    backbone = load()
    tuning = attached("prefix", backbone)
    before = read(backbone)
    tuning._apply(lambda weight: 2 * weight)
    after = read(backbone)
    assert not torch.allclose(after, before, atol=1e-3)
    torch.testing.assert_close(backbone.logits(*rows(backbone)), after)
