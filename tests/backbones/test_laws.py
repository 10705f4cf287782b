"""Types that no other test covers are admitted by what they compute, not by their name."""

import functools

import pytest
import torch
import transformers

from dept_vl.backbones import check_laws, load_backbone
from dept_vl.backbones.loading import TESTED_TYPES
from dept_vl.backbones.quirks import UnsupportedType
from dept_vl.registry import DeptVLWarning
from tests.backbones.conftest import WRITERS
from tests.backbones.families import LLAMA

BERT = {key: LLAMA[key] for key in ("vocab_size", "hidden_size", "intermediate_size", "num_attention_heads")}
BART = {
    "vocab_size": 60, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 96,
    "decoder_start_token_id": 2, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
GPTJ = {"vocab_size": 60, "n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4, "eos_token_id": 2}
GOOD = {
    "MvpConfig": ("seq2seq", BART), "Starcoder2Config": ("causal", LLAMA), "CohereConfig": ("causal", LLAMA),
    "GPTJConfig": ("causal", GPTJ),
}  # fmt: skip
BAD = [
    ("seq2seq", "MarianConfig", {**BART, "scale_embedding": True}, "logits of embeddings differ from those of ids by"),
    ("seq2seq", "MBartConfig", BART, "logits behind an answer's true tokens differ by"),
    ("seq2seq", "PLBartConfig", BART, "logits behind an answer's true tokens differ by"),
    ("causal", "MambaConfig", {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 1}, "no attribute 'max_pos"),
    (
        "causal",
        "BertConfig",
        {**BERT, "num_hidden_layers": 1},
        "logits behind an answer's true tokens differ by",
    ),
    (
        "causal",
        "BloomConfig",
        {"vocab_size": 60, "hidden_size": 32, "n_layer": 1, "n_head": 4},
        "no attribute 'max_pos",
    ),
]
HALF = ("MBartConfig", "Starcoder2Config")  # tried in bfloat16, the others in float32
LLAMA_FORWARD = transformers.LlamaForCausalLM.forward


@pytest.fixture
def write(tmp_path):
    """The folder of a model of that type whose weights are large enough for its answer to depend on each token."""

    def write(kind, made):
        auto = transformers.AutoModelForSeq2SeqLM if kind == "seq2seq" else transformers.AutoModelForCausalLM
        model, generator = auto.from_config(made), torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.dim() > 1:
                    weight.normal_(std=1.5 * weight.shape[1] ** -0.5, generator=generator)
        model.save_pretrained(tmp_path / made.model_type)
        return str(tmp_path / made.model_type)

    return write


@pytest.mark.parametrize(("kind", "config", "arguments", "law"), BAD, ids=[f"{bad[1]}" for bad in BAD])
def test_a_type_that_does_not_read_embeddings_as_ids_is_refused_by_name(write, kind, config, arguments, law):
    name, folder = config.removesuffix("Config").lower(), write(kind, getattr(transformers, config)(**arguments))
    with pytest.raises(UnsupportedType, match=f"{name}: wanted .*given one of type {name}.*{law}") as told:
        load_backbone(folder, kind=kind, dtype="bfloat16" if config in HALF else "float32")
    assert "Attribute" not in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize("config", GOOD)
def test_a_type_that_does_is_admitted_with_a_notice(write, config):
    kind, arguments = GOOD[config]
    folder = write(kind, made := getattr(transformers, config)(**arguments))
    with pytest.warns(DeptVLWarning, match=f"a model of type {made.model_type}, which no test of this package covers"):
        backbone = load_backbone(folder, kind=kind, dtype="bfloat16" if config in HALF else "float32")
    assert backbone.kind == kind and backbone.d_model == 32 and made.model_type not in TESTED_TYPES


@pytest.mark.parametrize("name", WRITERS)
def test_the_types_that_are_taken_on_trust_pass_too(load, name):
    backbone = load(name)
    check_laws(backbone)
    assert backbone.model.config.model_type in TESTED_TYPES


@functools.wraps(LLAMA_FORWARD)
def plain(self, *given, **more):
    return LLAMA_FORWARD(self, *given, **more)


@functools.wraps(LLAMA_FORWARD)
def counts_pads(self, *given, attention_mask=None, **more):
    seen = None if attention_mask is None else torch.ones_like(attention_mask)
    return LLAMA_FORWARD(self, *given, attention_mask=seen, **more)


@functools.wraps(LLAMA_FORWARD)
def halved(self, input_ids=None, inputs_embeds=None, **more):
    return LLAMA_FORWARD(self, input_ids, inputs_embeds=None if inputs_embeds is None else inputs_embeds / 2, **more)


@functools.wraps(LLAMA_FORWARD)
def forgetful(self, *given, **more):
    """Keeps less than it says: of every kept key and value only half."""
    output = LLAMA_FORWARD(self, *given, **more)
    for layer in getattr(output.get("cache") or output.get("past_key_values"), "layers", ()):
        layer.values = layer.values / 2
    return output


MADE_UP = {
    "made_up_good": (plain, None),
    "made_up_counts_pads": (counts_pads, "logits change with pads on the left"),
    "made_up_halves_embeddings": (halved, "logits of embeddings differ from those of ids"),
    "made_up_forgets": (forgetful, "logits behind an answer's beginning differ"),
}


@pytest.mark.parametrize("kind", MADE_UP)
def test_a_made_up_class_is_admitted_or_refused_by_the_law_that_it_breaks(write, kind):
    forward, law = MADE_UP[kind]
    config = type("MadeUpConfig", (transformers.LlamaConfig,), {"model_type": kind})
    made_up = type("MadeUp", (transformers.LlamaForCausalLM,), {"config_class": config, "forward": forward})
    transformers.AutoConfig.register(kind, config, exist_ok=True)
    transformers.AutoModelForCausalLM.register(config, made_up, exist_ok=True)
    folder = write("causal", config(**LLAMA))
    if law is None:
        with pytest.warns(DeptVLWarning, match=f"{kind}: a model of type {kind}, which no test"):
            assert load_backbone(folder, kind="causal").max_positions == 96
        return
    with pytest.raises(UnsupportedType, match=f"{kind}: wanted .* in which {law}.* at most 0.001"):
        load_backbone(folder, kind="causal")


def test_an_unknown_type_with_a_sliding_window_ends_its_rows_there(write):
    folder = write("causal", transformers.Starcoder2Config(**LLAMA, sliding_window=24))
    with pytest.warns(DeptVLWarning):
        assert load_backbone(folder, kind="causal").max_positions == 24
