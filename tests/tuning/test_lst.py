"""The ladder side network: what it computes, its start, and that nothing of the frozen model is kept for a gradient."""

import functools
import math

import pytest
import torch
from transformers import MT5Config, MT5ForConditionalGeneration, T5Config, T5ForConditionalGeneration

from dept_vl.backbones import Seq2SeqBackbone, Submodel, partial
from dept_vl.run.measure import step_bytes
from dept_vl.tuning import BadTuning, build_tuning
from dept_vl.tuning.side_start import strongest
from tests.tiny_runs import batch_of
from tests.tiny_tunings import attached, network_with, read, rows

T5S = pytest.mark.parametrize("kind", ["t5", "t5_v1_1", "mt5"])
SIZES = {"vocab_size": 60, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_heads": 2, "num_layers": 3, "pad_token_id": 0}


def made(kind: str = "t5", **changes: object) -> Seq2SeqBackbone:
    torch.manual_seed(0)
    config, model = (
        (MT5Config, MT5ForConditionalGeneration) if kind == "mt5" else (T5Config, T5ForConditionalGeneration)
    )
    gated = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False} if kind == "t5_v1_1" else {}
    given = {**SIZES, **gated, "decoder_start_token_id": 0, "eos_token_id": 1, **changes}
    frozen = model(config(**given))
    with torch.no_grad():
        for weight in frozen.parameters():
            if weight.dim() > 1:
                weight.normal_(std=weight.shape[1] ** -0.5)
        frozen.get_input_embeddings().weight.normal_()
    return Seq2SeqBackbone(frozen, name=kind)


def answers(backbone: Seq2SeqBackbone, **more: object) -> torch.Tensor:
    embeds, mask, _ = rows(backbone)
    with torch.no_grad():
        return backbone.model.generate(inputs_embeds=embeds, attention_mask=mask, max_new_tokens=5, **more)


@T5S
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_as_wide_as_the_frozen_model_and_without_rungs_it_is_the_frozen_model(kind, attention):
    """With a reduction of 1, gates at 1 and Down_0 and Up the identity: bit by bit, with beams and without."""
    backbone = made(kind, attn_implementation=attention)
    frozen, said = read(backbone), [answers(backbone, num_beams=beams) for beams in (1, 3)]
    tuning = attached("lst", backbone, reduction=1, layers=[0, 1, 2])
    groups = dict(tuning._groups)
    with torch.no_grad():
        for gate in groups["gate"].values():
            gate.fill_(20.0)  # sigmoid(200) = 1
        for name in ("encoder.embed_down", "decoder.embed_down", "decoder.up"):
            groups["ladder"][f"{name}.weight"].copy_(torch.eye(16))
    assert torch.equal(read(backbone), frozen)
    for beams, wanted in zip((1, 3), said, strict=True):
        assert torch.equal(answers(backbone, num_beams=beams), wanted)


def test_kept_keys_and_values_follow_the_beams():
    """Answers of four beams, as computed anew for each token."""
    backbone = made()
    attached("lst", backbone, random=True)
    for beams in (1, 4):
        kept = answers(backbone, num_beams=beams, num_return_sequences=beams)
        assert torch.equal(kept, answers(backbone, num_beams=beams, num_return_sequences=beams, use_cache=False))


def test_what_follows_a_prefix_is_what_the_logits_say():
    backbone = made()
    attached("lst", backbone, random=True)
    embeds, mask, labels = rows(backbone)
    paths = labels[:, :2]
    follows = backbone.next_token_logits(embeds, mask, paths)
    for number, path in enumerate(paths):
        wanted = backbone.logits(embeds, mask, torch.cat([path, path[:1]]).expand(2, -1))
        torch.testing.assert_close(follows[:, number], wanted)


def test_no_graph_goes_through_the_frozen_model_and_a_projection_trains_all_the_same():
    """Also with its dropout on and its layers recomputed."""
    backbone = made(vocab_size=300)
    network = network_with(attached("lst", backbone, random=True), backbone, dropout=True, projection=True)
    backbone.checkpoint_activations()
    graphs: list[str] = []

    def note(name: str, _: object, __: object, output: object) -> None:
        each = output if isinstance(output, tuple) else (output,)
        graphs.extend(name for one in each if isinstance(one, torch.Tensor) and one.grad_fn)

    seen = 0
    for name, module in backbone.model.named_modules():
        if ".block." in name or name.endswith("final_layer_norm"):
            module.register_forward_hook(functools.partial(note, name))
            seen += 1
    network.train()(batch_of([4, 2])).mean().backward()
    assert graphs == [] and seen > 50
    assert all(weight.grad.abs().max() > 0 for group in network.param_groups().values() for weight in group)


def test_a_pass_that_fails_leaves_gradients_on_and_nothing_behind():
    backbone = made()
    attached("lst", backbone)
    embeds, mask, labels = rows(backbone)
    with pytest.raises(RuntimeError):
        backbone.logits(embeds[..., :5], mask, labels)
    assert torch.is_grad_enabled()
    assert backbone.logits(embeds, mask, labels).requires_grad
    with torch.no_grad():
        backbone.logits(embeds, mask, labels)
    with pytest.raises(KeyError, match="input_ids"):
        backbone.model.encoder(attention_mask=mask)
    assert torch.is_grad_enabled()


def test_a_step_keeps_less_than_loras():
    """With a projection in front of both; docs/methods.md has the numbers of a larger model."""
    kept = {}
    for name, more in (("full", {}), ("lora", {"r": 2}), ("lst", {"reduction": 8})):
        backbone = made(vocab_size=300, d_model=64, d_ff=256, d_kv=32)
        network = network_with(attached(name, backbone, **more), backbone, dropout=True, projection=True)
        kept[name] = step_bytes(network, batch_of([24] * 4))
    assert kept["lst"] < 0.5 * kept["lora"] and kept["lora"] < kept["full"]


@pytest.mark.parametrize(("alpha", "gate"), [(-20.0, 0.0), (0.0, 0.5), (0.1 * math.log(3), 0.75)])
def test_a_side_block_reads_the_one_before_it_and_down_of_the_frozen_layer_by_its_gate(alpha, gate):
    backbone, seen = made(), {}

    def keep(place: str, _: object, given: tuple, output: object) -> None:
        seen[place] = (given[0], output[0])

    for name in ("encoder", "decoder"):
        getattr(backbone.model, name).block[1].register_forward_hook(functools.partial(keep, f"{name} frozen"))
    read(backbone)
    plain = dict(seen)
    tuning = attached("lst", backbone, random=True)
    for name, side in zip(("encoder", "decoder"), tuning._added, strict=True):
        side.gate["1"].data.fill_(alpha)
        for layer, block in side.block.items():
            block.register_forward_hook(functools.partial(keep, f"{name} {layer}"))
    read(backbone)
    for name, side in zip(("encoder", "decoder"), tuning._added, strict=True):
        frozen = plain[f"{name} frozen"][1]
        assert torch.equal(seen[f"{name} frozen"][1], frozen)
        wanted = gate * seen[f"{name} 0"][1] + (1 - gate) * side.down["1"](frozen).detach()
        torch.testing.assert_close(seen[f"{name} 1"][0], wanted)


@T5S
def test_the_order_of_the_sides_channels_means_nothing(kind):
    backbone = made(kind)
    tuning = attached("lst", backbone, random=True)
    before, order = read(backbone), torch.randperm(8, generator=torch.Generator().manual_seed(4))
    weights = dict(tuning.weights.named_parameters())
    with torch.no_grad():
        for name, weight in weights.items():
            if weight.shape[0] == 8 and (name.endswith((".o.weight", ".wo.weight", "norm.weight")) or "down" in name):
                weight.copy_(weight[order])  # writes channels
            elif name.endswith(("q.weight", "k.weight", "v.weight", "up.weight")) or ".wi" in name:
                weight.copy_(weight[:, order])  # reads them
    torch.testing.assert_close(read(backbone), before)


def test_the_side_starts_from_the_frozen_layers_strongest_weights():
    backbone = made()
    tuning = attached("lst", backbone, layers=[1, 2])
    weights, model = dict(tuning.weights.named_parameters()), backbone.model
    channels = sorted(range(16), key=lambda each: -model.shared.weight[:, each].abs().sum().item())[:8]
    channels.sort()
    wide = model.decoder.block[2].layer[1].EncDecAttention
    strength = sum(getattr(wide, name).weight[:, channels].abs().sum(1) for name in "qkv").tolist()
    heads = [sorted(sorted(range(first, first + 8), key=lambda each: -strength[each])[:4]) for first in (0, 8)]
    kept = sum(heads, [])
    path = "decoder.block.2.layer.1"
    for name in "qkv":
        given = weights[f"{path}.EncDecAttention.{name}.weight"]
        assert torch.equal(given, getattr(wide, name).weight[kept][:, channels])
    assert torch.equal(weights[f"{path}.EncDecAttention.o.weight"], wide.o.weight[channels][:, kept])
    table = "layer.0.SelfAttention.relative_attention_bias.weight"
    for stack in ("encoder", "decoder"):
        assert torch.equal(weights[f"{stack}.block.1.{table}"], getattr(model, stack).block[0].get_parameter(table))
        assert f"{stack}.block.2.{table}" not in weights
    assert strongest(torch.tensor([1.0, 5, 3, 2, 9, 8]), 2, 2).tolist() == [1, 2, 4, 5]


def test_a_random_start_has_the_same_weights_but_draws_them():
    drawn, cut = (attached("lst", made(d_model=64), init_weights=each) for each in ("random", "magnitude"))
    drawn, cut = (dict(each.weights.named_parameters()) for each in (drawn, cut))
    assert {name: each.shape for name, each in drawn.items()} == {name: each.shape for name, each in cut.items()}
    same = {name for name in cut if torch.equal(cut[name], drawn[name])}
    other = {name for name in cut if "block" in name and "norm" not in name and "relative" not in name}
    assert not same & other and len(other) == 2 * (6 + 10)
    queries = drawn["encoder.block.1.layer.0.SelfAttention.q.weight"]  # [8, 32], 4 a head
    assert queries.std().item() == pytest.approx((32 * 4) ** -0.5, rel=0.15)


def test_a_partial_model_without_the_tables_layer_still_has_relative_positions():
    backbone = made()
    tuning = attached("lst", backbone, random=True, layers=[1, 2])
    view = partial(backbone, Submodel((0, 2), (0, 2), 32, 32))
    before = read(view)
    for stack in ("encoder", "decoder"):
        path = f"{stack}.block.1.layer.0.SelfAttention"
        tuning.weights.get_parameter(f"{path}.q.weight").data.add_(1.0)  # left out with its layer
        torch.testing.assert_close(read(view), before, rtol=0, atol=0)
        tuning.weights.get_parameter(f"{path}.relative_attention_bias.weight").data.mul_(-3.0)
        assert not torch.allclose(read(view), before, atol=1e-4)
        before = read(view)


def test_a_partial_model_without_the_tables_layer_answers_as_it_scores():
    """Token by token with keys and values, and all tokens at once."""
    backbone = made()
    tuning = attached("lst", backbone, random=True, layers=[1, 2])
    with torch.no_grad():
        table = "decoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight"
        tuning.weights.get_parameter(table).normal_(std=3)
        tuning.weights.get_parameter("decoder.gate.2").fill_(0.1)  # the side's own states, more than the frozen ones
    view = partial(backbone, Submodel((0, 2), (0, 2), 32, 32))
    embeds, mask = backbone.embed(torch.randint(5, 60, (4, 7))), torch.ones(4, 7, dtype=torch.int64)
    given = {"inputs_embeds": embeds, "attention_mask": mask, "max_new_tokens": 6, "min_new_tokens": 6}
    said = view.model.generate(**given, do_sample=False, output_logits=True, return_dict_in_generate=True)
    with torch.no_grad():
        scored = view.logits(embeds, mask, said.sequences[:, 1:])
    torch.testing.assert_close(torch.stack(said.logits, 1), scored, rtol=1e-4, atol=1e-4)


def test_layers_left_to_it_are_all_but_every_fourth():
    for layers, wanted in ((3, {"1", "2"}), (6, {"1", "2", "3", "5"})):
        tuning = attached("lst", made(num_layers=layers), layers=None)
        assert {name for name in tuning._added[0].gate} == wanted


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_decoder_alone_is_refused_by_name(kind, load):
    backbone = load(kind)
    message = f"LadderSideTuning: wanted an encoder-decoder of type t5, mt5, .*, given a {kind} model"
    with pytest.raises(BadTuning, match=message):
        attached("lst", backbone)
    assert backbone.attached is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reduction": 0}, "wanted reduction to be an integer >= 1, given 0"),
        ({"layers": [2, 1]}, r"wanted layers to be numbers of layers in order, or null, given \[2, 1\]"),
        ({"layers": []}, r"wanted layers to be numbers of layers in order, or null, given \[\]"),
        ({"init_weights": "fischer"}, "wanted init_weights of magnitude, fisher, random, given 'fischer'"),
        ({"init_weights": "fisher"}, "wanted 1024 examples to look at for init_weights fisher"),
        ({"reduction": 3}, "wanted reduction to divide d_model 16, d_kv 8, d_ff 32, given 3"),
        ({"reduction": 2, "layers": [3]}, r"wanted layers below 3, at least one, given \[3\]"),
    ],
)
def test_what_does_not_fit_is_told_and_leaves_no_trace(arguments, message):
    backbone = made()
    frozen = read(backbone)
    with pytest.raises(BadTuning, match=f"LadderSideTuning: {message}"):
        build_tuning("lst", arguments).attach(backbone)
    assert backbone.attached is None and torch.equal(read(backbone), frozen)


def test_one_layer_has_no_side_unless_it_is_asked_for():
    with pytest.raises(BadTuning, match="wanted layers below 1, at least one, given null, which leaves out layer 0"):
        attached("lst", made(num_layers=1), layers=None)
    attached("lst", made(num_layers=1), layers=[0])
