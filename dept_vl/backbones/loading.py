"""Load a frozen language model by name and kind; fail early."""

import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PretrainedConfig

from dept_vl.backbones.causal import CausalBackbone
from dept_vl.backbones.frozen import Backbone
from dept_vl.backbones.seq2seq import Seq2SeqBackbone
from dept_vl.embedded import embedded
from dept_vl.registry import did_you_mean

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
CAUSAL_TYPES = ("gpt2", "llama")  # those over which the laws of tests/backbones/test_causal.py run
_KINDS = {
    "seq2seq": ("an encoder-decoder (T5)", AutoModelForSeq2SeqLM, Seq2SeqBackbone),
    "causal": ("a decoder alone (GPT-2, LLaMA)", AutoModelForCausalLM, CausalBackbone),
}


class UnsupportedPrecision(ValueError):
    """A compute type in which the backbone is known to fail, or that nothing here was tested in."""


class MissingBackbone(ValueError):
    """A backbone that is neither a folder here, nor in the cache, nor to be had."""


class WrongKind(MissingBackbone):
    """There is such a model, and it is not of the kind that was asked for."""


def load_backbone(
    model_name_or_path: str,
    *,
    kind: str = "seq2seq",
    revision: str | None = None,
    dtype: str = "float32",
    attn_implementation: str | None = None,
) -> Backbone:
    """Loads and freezes a T5 (kind "seq2seq") or a GPT-2 or LLaMA (kind "causal"); the kind is never guessed.

    Args:
        model_name_or_path: "tiny-t5" (embedded), a folder, or a hub name.
        dtype: float32 or bfloat16, in which the weights are held.
        attn_implementation: None leaves the choice to transformers.

    Raises:
        WrongKind: an unknown kind, or a model of the other one; the message says which kind loads it.
        MissingBackbone: the name cannot be resolved, or its files cannot be read; the message says where it was sought.
        UnsupportedPrecision: another dtype, or float16 with T5, whose feed-forward activations overflow it.
    """
    if kind not in _KINDS:
        raise WrongKind(f"kind: wanted one of {', '.join(_KINDS)}, given {kind!r}.{did_you_mean(kind, _KINDS)}")
    _check_dtype(dtype, kind)
    wanted, read, backbone = _KINDS[kind]
    path = embedded(model_name_or_path) or model_name_or_path
    # For a model without safetensors transformers would send its name and the user's token to a conversion service.
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    # trust_remote_code=None would ask on the terminal whether to run a stranger's code.
    source = {"revision": revision, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(path, **source)
        _check_kind(kind, wanted, model_name_or_path, config)
        model = read.from_pretrained(path, dtype=DTYPES[dtype], attn_implementation=attn_implementation, **source)
    except WrongKind:
        raise
    except (OSError, ValueError, SafetensorError) as error:  # a folder without config.json is a ValueError
        raise MissingBackbone(
            f"{model_name_or_path}: wanted a folder with config.json and weights, or a model name that the hub or the "
            f"local cache has (HF_HUB_OFFLINE=1 asks the cache alone). {str(error).splitlines()[0]}"
        ) from error
    folder = Path(model_name_or_path)
    return backbone(model, name=folder.name if folder.is_dir() else str(model_name_or_path), revision=revision)


def _check_dtype(dtype: str, kind: str) -> None:
    if kind == "seq2seq" and dtype in ("float16", "fp16"):
        raise UnsupportedPrecision(
            "float16 with T5: its feed-forward activations pass 65,504 and turn into infinities; wanted float32 or "
            "bfloat16 (--bf16)"
        )
    if dtype not in DTYPES:
        raise UnsupportedPrecision(f"wanted a dtype of {', '.join(DTYPES)}, given {dtype!r}")


def _check_kind(kind: str, wanted: str, name: str, config: PretrainedConfig) -> None:
    own, given = "seq2seq" if config.is_encoder_decoder else "causal", config.model_type
    if own != kind:
        suits = own == "seq2seq" or given in CAUSAL_TYPES
        raise WrongKind(f"{name}: wanted {wanted}, given a {given} model{f'; set kind to {own}' if suits else ''}")
    if kind == "causal" and given not in CAUSAL_TYPES:
        raise WrongKind(f"{name}: wanted a model of type {' or '.join(CAUSAL_TYPES)}, given a {given} model")
