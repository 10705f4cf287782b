"""A random model of two layers for every family of language models that is known to work, written as a folder."""

import copy
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers

from dept_vl.backbones import Backbone, load_backbone, quirks

LLAMA = {
    "vocab_size": 60, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 96, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
WIDE, NARROW = 40, 8  # sliding windows that hold every row of the tests, and that hold few of them
_OLD = {key: LLAMA[key] for key in LLAMA if key != "num_key_value_heads"}
_OPT = {**_OLD, "ffn_dim": 48}
_FALCON = {**_OLD, "multi_query": True}
_HEADS = {**LLAMA, "head_dim": 8}
_GEMMA2 = {**_HEADS, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 8.0}
_GEMMA3 = {**_HEADS, "query_pre_attn_scalar": 8, "layer_types": ["sliding_attention", "full_attention"]}
_QWEN = {"use_sliding_window": True, "max_window_layers": 1}
_LONGROPE = {
    "rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [4.0] * 4,
    "original_max_position_embeddings": 48,
}  # fmt: skip
_GRANITE = {"embedding_multiplier": 3.0, "logits_scaling": 2.0, "residual_multiplier": 0.7, "attention_multiplier": 0.2}
_GPT2 = {"vocab_size": 60, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 96, "eos_token_id": 2}
_T5 = {
    "vocab_size": 60, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4,
    "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1,
}  # fmt: skip
_V1_1 = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
_LONGT5 = {**_T5, **_V1_1, "local_radius": 3, "global_block_size": 4}
_BART = {
    "vocab_size": 60, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 96,
    "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2,
}  # fmt: skip
_PEGASUS = {**_BART, "bos_token_id": None, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
_STACK = {**_GEMMA2, "sliding_window": NARROW}

CAUSAL = {
    "gpt2": ("GPT2Config", _GPT2),
    "llama": ("LlamaConfig", LLAMA),
    "qwen2": ("Qwen2Config", LLAMA),
    "qwen2 beyond its window": ("Qwen2Config", LLAMA | _QWEN | {"sliding_window": NARROW}),
    "qwen3": ("Qwen3Config", _HEADS),
    "mistral": ("MistralConfig", LLAMA | {"sliding_window": WIDE}),
    "mistral beyond its window": ("MistralConfig", LLAMA | {"sliding_window": NARROW}),
    "gemma": ("GemmaConfig", _HEADS),
    "gemma2": ("Gemma2Config", _GEMMA2 | {"sliding_window": WIDE}),
    "gemma2 beyond its window": ("Gemma2Config", _GEMMA2 | {"sliding_window": NARROW}),
    "gemma3": ("Gemma3TextConfig", _GEMMA3 | {"sliding_window": WIDE}),
    "gemma3 beyond its window": ("Gemma3TextConfig", _GEMMA3 | {"sliding_window": NARROW}),
    "phi3": ("Phi3Config", LLAMA | {"sliding_window": WIDE}),
    "phi3 beyond its window": ("Phi3Config", LLAMA | {"sliding_window": NARROW}),
    "phi3 of long rotations": (
        "Phi3Config", LLAMA | {"rope_parameters": _LONGROPE, "original_max_position_embeddings": 48},
    ),
    "olmo2": ("Olmo2Config", LLAMA),
    "smollm3": ("SmolLM3Config", LLAMA | {"no_rope_layers": [1, 0]}),
    "gpt_neox": ("GPTNeoXConfig", _OLD),
    "opt": ("OPTConfig", _OPT),
    "opt of 350 M": ("OPTConfig", _OPT | {"word_embed_proj_dim": 24, "do_layer_norm_before": False}),
    "falcon of 7 B": ("FalconConfig", _FALCON),
    "falcon of 40 B": ("FalconConfig", _FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon with alibi": ("FalconConfig", _FALCON | {"alibi": True, "parallel_attn": False, "bias": True}),
    "stablelm": ("StableLmConfig", LLAMA | {"partial_rotary_factor": 0.5, "use_qkv_bias": True}),
    "stablelm 2 of 12 B": (
        "StableLmConfig",
        LLAMA | {"partial_rotary_factor": 0.5, "use_parallel_residual": True, "qk_layernorm": True},
    ),
    "granite": ("GraniteConfig", LLAMA | _GRANITE),
}  # fmt: skip
SEQ2SEQ = {
    "t5 v1.0": ("T5Config", _T5),
    "t5 v1.1, flan, lm-adapted": ("T5Config", _T5 | _V1_1),
    "byt5": ("T5Config", _T5 | _V1_1 | {"num_layers": 3, "num_decoder_layers": 1}),
    "mt5": ("MT5Config", _T5 | _V1_1),
    "umt5": ("UMT5Config", _T5 | _V1_1),
    "longt5, local": ("LongT5Config", _LONGT5),
    "longt5, transient-global": ("LongT5Config", _LONGT5 | {"encoder_attention_type": "transient-global"}),
    "t5gemma": ("T5GemmaConfig", {"encoder": _STACK, "decoder": _STACK, "vocab_size": 60}),
    "bart": ("BartConfig", _BART),
    "bart, scaled": ("BartConfig", _BART | {"scale_embedding": True}),
    "pegasus": ("PegasusConfig", _PEGASUS | {"scale_embedding": True}),
}
FAMILIES = {**{name: ("causal", *each) for name, each in CAUSAL.items()}}
FAMILIES |= {name: ("seq2seq", *each) for name, each in SEQ2SEQ.items()}


def write_family(name: str, folder: Path, **changes: object) -> Path:
    """Of the family's arguments with `changes`. Skips the test where the installed transformers lacks the family."""
    kind, config, arguments = FAMILIES[name]
    if not hasattr(transformers, config):
        pytest.skip(f"transformers {transformers.__version__} has no {config}")
    auto = transformers.AutoModelForSeq2SeqLM if kind == "seq2seq" else transformers.AutoModelForCausalLM
    model = auto.from_config(getattr(transformers, config)(**arguments | changes))
    enlarge(model)
    model.save_pretrained(folder)
    return folder


@torch.no_grad()
def enlarge(model: transformers.PreTrainedModel, seed: int = 0) -> None:
    """Weights large enough that the answer depends on every token read, its place included, embedded tokens as large as
    the tests' prompts, and no bias or norm as it is drawn."""
    generator = torch.Generator().manual_seed(seed)
    table = model.get_input_embeddings().weight
    for name, weight in model.named_parameters():
        if weight.dim() > 1 and weight.requires_grad:  # Pegasus's sines stay
            places = any(each in name for each in ("wte", "wpe", "embed_positions", "embed_tokens", "shared"))
            weight.normal_(std=1.0 if places else 1.5 * weight.shape[1] ** -0.5, generator=generator)
        elif weight.dim() == 1:
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    size = quirks.as_read(model, table[3:]).std()
    if model.config.model_type == "t5gemma":  # scales embeddings too
        size = size * model.config.decoder.hidden_size**0.5
    for each in {id(weight): weight for weight in _tables(model)}.values():
        each.div_(size)


def _tables(model: transformers.PreTrainedModel) -> list[torch.Tensor]:
    """Of embedded tokens, of both stacks where each has its own."""
    modules = (each for name, each in model.named_modules() if name.rpartition(".")[2] in ("embed_tokens", "shared"))
    return [each.weight for each in itertools.chain([model.get_input_embeddings()], modules)]


def loader(root: Path, kind: type[Backbone]) -> Callable[[str], Backbone]:
    """load(name): a family's model as it was loaded, though earlier tests had it; written below `root` once."""
    known: dict[str, tuple[Backbone, transformers.GenerationConfig]] = {}

    def load(name: str) -> Backbone:
        if name not in known:
            read = load_backbone(str(write_family(name, root / name)), kind=kind.kind)
            known[name] = read, copy.deepcopy(read.model.generation_config)
        model, settings = known[name][0].model, known[name][1]
        model.generation_config = copy.deepcopy(settings)
        return kind(model, name=name)

    return load
