"""Types that no other test covers are admitted by what they compute, not by their name."""

import pytest
import torch
import transformers

from dept_vl.backbones import load_backbone
from dept_vl.backbones.loading import TESTED_TYPES
from dept_vl.backbones.readable import UnsupportedType, check_readable
from tests.backbones.conftest import WRITERS

IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
CAUSAL = {
    "vocab_size": 60, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 96, "head_dim": 8, **IDS,
}  # fmt: skip
BERT = {key: CAUSAL[key] for key in ("vocab_size", "hidden_size", "intermediate_size", "num_attention_heads")}
BART = {
    "vocab_size": 60, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 96,
    "decoder_start_token_id": 2, **IDS,
}  # fmt: skip
T5 = {
    "vocab_size": 60, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 1, "num_heads": 4,
    "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1,
}  # fmt: skip
GOOD = {
    "MT5Config": ("seq2seq", T5), "UMT5Config": ("seq2seq", T5), "BartConfig": ("seq2seq", BART),
    "Qwen2Config": ("causal", CAUSAL),
}  # fmt: skip
STACK = {**CAUSAL, "num_hidden_layers": 1}
BAD = [
    ("seq2seq", "PegasusConfig", {**BART, "scale_embedding": True}, "logits of embeddings differ from those of ids by"),
    (
        "seq2seq",
        "BartConfig",
        {**BART, "scale_embedding": True},
        "embedded tokens differ from the rows of the table by",
    ),
    ("seq2seq", "MBartConfig", BART, "logits behind an answer's true tokens differ by"),
    ("seq2seq", "T5GemmaConfig", {"encoder": STACK, "decoder": STACK, "vocab_size": 60, **IDS}, "differ"),
    ("causal", "GemmaConfig", CAUSAL, "embedded tokens differ from the rows of the table by"),
    ("causal", "BertConfig", {**BERT, "num_hidden_layers": 1}, "logits behind an answer's true tokens differ by"),
    (
        "causal",
        "BloomConfig",
        {"vocab_size": 60, "hidden_size": 32, "n_layer": 1, "n_head": 4},
        "no attribute 'max_pos",
    ),
]
HALF = ("PegasusConfig", "MBartConfig", "UMT5Config", "Qwen2Config")  # tried in bfloat16, the others in float32


@pytest.fixture
def write(tmp_path):
    """The folder of a model of that type whose weights are large enough for its answer to depend on each token."""

    def write(kind, config, arguments):
        made = getattr(transformers, config)(**arguments)
        auto = transformers.AutoModelForSeq2SeqLM if kind == "seq2seq" else transformers.AutoModelForCausalLM
        model, generator = auto.from_config(made), torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.dim() > 1:
                    weight.normal_(std=1.5 * weight.shape[1] ** -0.5, generator=generator)
        model.save_pretrained(tmp_path / config)
        return str(tmp_path / config)

    return write


@pytest.mark.parametrize(("kind", "config", "arguments", "law"), BAD, ids=[f"{bad[1]}" for bad in BAD])
def test_a_type_that_does_not_read_embeddings_as_ids_is_refused_by_name(write, kind, config, arguments, law):
    name = config.removesuffix("Config").lower()
    with pytest.raises(UnsupportedType, match=f"{config}: wanted .*given one of type {name}.*{law}") as told:
        load_backbone(write(kind, config, arguments), kind=kind, dtype="bfloat16" if config in HALF else "float32")
    assert "Attribute" not in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize("config", GOOD)
def test_a_type_that_does_is_admitted(write, config):
    kind, arguments = GOOD[config]
    backbone = load_backbone(
        write(kind, config, arguments), kind=kind, dtype="bfloat16" if config in HALF else "float32"
    )
    check_readable(backbone)
    assert backbone.kind == kind and backbone.d_model == 32


@pytest.mark.parametrize("name", WRITERS)
def test_the_types_that_are_taken_on_trust_pass_too(load, name):
    backbone = load(name)
    check_readable(backbone)
    assert backbone.model.config.model_type in TESTED_TYPES


def test_a_sliding_window_ends_a_row_as_the_last_position_does(write):
    folder = write("causal", "MistralConfig", {**CAUSAL, "sliding_window": 24})
    assert load_backbone(folder, kind="causal").max_positions == 24
