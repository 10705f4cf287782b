"""A GGUF file of a few thousand weights, as llama.cpp's converter writes a LLaMA's, and the model that it came from."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n'}}"
    "{{message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MERGES = ("1 2", "Ġ a", "t h", "th e", "Ġ the")
_LAYER = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip
HEADS, KEY_HEADS = 4, 2


def write_tiny_gguf(path: Path, *, seed: int = 0, pre: str = "smollm", **tensors: np.ndarray) -> Any:
    """Writes a LLaMA with tied embeddings whose matrices are in 8-bit blocks (Q8_0) and a byte-level tokenizer; returns
    the model with the weights that the file holds. pre: how text is cut before the merges. tensors: more of them."""
    import gguf
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    tokens = [*SPECIAL, *bytes_to_unicode().values(), *("".join(pair.split()) for pair in MERGES)]
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "max_position_embeddings": 96}
    config = LlamaConfig(
        vocab_size=len(tokens), num_attention_heads=HEADS, num_key_value_heads=KEY_HEADS, tie_word_embeddings=True,
        rope_theta=100_000.0, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, pad_token_id=2, **sizes,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    generator = torch.Generator().manual_seed(seed)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(sizes["max_position_embeddings"])
    writer.add_embedding_length(sizes["hidden_size"])
    writer.add_block_count(sizes["num_hidden_layers"])
    writer.add_feed_forward_length(sizes["intermediate_size"])
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(100_000.0)
    writer.add_rope_dimension_count(sizes["hidden_size"] // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3] * len(SPECIAL) + [1] * (len(tokens) - len(SPECIAL)))
    writer.add_token_merges(list(MERGES))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template(CHATML)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                weight.normal_(std=1.0 if "embed" in name else 1.5 * weight.shape[1] ** -0.5, generator=generator)
                held = gguf.quants.quantize(_as_llama_cpp(name, weight.numpy()), gguf.GGMLQuantizationType.Q8_0)
                back = gguf.quants.dequantize(held, gguf.GGMLQuantizationType.Q8_0)
                weight.copy_(torch.from_numpy(_as_transformers(name, back)))
                writer.add_tensor(_name(name), held, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
            else:
                writer.add_tensor(_name(name), weight.numpy())
    for name, value in tensors.items():
        writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def _name(name: str) -> str:
    if name == "model.embed_tokens.weight":
        return "token_embd.weight"
    if name == "model.norm.weight":
        return "output_norm.weight"
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{_LAYER[rest.removesuffix('.weight')]}.weight"


def _as_llama_cpp(name: str, weight: np.ndarray) -> np.ndarray:
    """llama.cpp turns neighbouring rows of queries and keys by an angle, transformers the two halves of a head."""
    heads = _heads(name)
    if heads is None:
        return weight
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def _as_transformers(name: str, weight: np.ndarray) -> np.ndarray:
    heads = _heads(name)
    if heads is None:
        return weight
    return weight.reshape(heads, -1, 2, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def _heads(name: str) -> int | None:
    return HEADS if "q_proj" in name else KEY_HEADS if "k_proj" in name else None
