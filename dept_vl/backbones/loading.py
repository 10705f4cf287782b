"""From a folder or a hub name to a frozen model's weights: what may go wrong is told before or while they load."""

import os
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedModel

from dept_vl.embedded import embedded
from dept_vl.registry import did_you_mean

Kind = Literal["seq2seq", "causal"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
CAUSAL_TYPES = ("gpt2", "llama")  # those over which the laws of tests/backbones/test_causal.py run
_CLASSES = {"seq2seq": AutoModelForSeq2SeqLM, "causal": AutoModelForCausalLM}
_WANTED = {"seq2seq": "an encoder-decoder (T5)", "causal": "a decoder alone (GPT-2, LLaMA)"}


class UnsupportedPrecision(ValueError):
    """A compute type in which the backbone is known to fail, or that nothing here was tested in."""


class MissingBackbone(ValueError):
    """A backbone that is neither a folder here, nor in the cache, nor to be had."""


class WrongKind(MissingBackbone):
    """There is such a model, and it is not of the kind that was asked for."""


def load_pretrained(
    model_name_or_path: str,
    *,
    kind: Kind,
    revision: str | None,
    dtype: str,
    attn_implementation: str | None,
) -> tuple[PreTrainedModel, str]:
    """The model, and the name by which its identity is told: a folder's last part, or the name as given.

    Raises:
        UnsupportedPrecision, WrongKind; MissingBackbone: the name cannot be resolved, or its files cannot be read;
        the message says where it was sought.
    """
    check_dtype(dtype, kind=kind)
    path = embedded(model_name_or_path) or model_name_or_path
    # For a model without safetensors transformers would send its name and the user's token to a conversion service.
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    try:
        # trust_remote_code=None would ask on the terminal whether to run a stranger's code.
        config = AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=False)
        _check_kind(kind, model_name_or_path, encoder_decoder=config.is_encoder_decoder, model_type=config.model_type)
        model = _CLASSES[kind].from_pretrained(
            path,
            revision=revision,
            dtype=DTYPES[dtype],
            attn_implementation=attn_implementation,
            trust_remote_code=False,
        )
    except WrongKind:
        raise
    except (OSError, ValueError, SafetensorError) as error:  # a folder without config.json is a ValueError
        raise MissingBackbone(
            f"{model_name_or_path}: wanted a folder with config.json and weights, or a model name that the hub or the "
            f"local cache has (HF_HUB_OFFLINE=1 asks the cache alone). {str(error).splitlines()[0]}"
        ) from error
    name = str(model_name_or_path)
    return model, name if not Path(name).is_dir() else Path(name).name


def check_dtype(dtype: str, *, kind: Kind = "seq2seq") -> None:
    """Raises: UnsupportedPrecision unless the type is one that a frozen model of that kind computes well in."""
    if kind == "seq2seq" and dtype in ("float16", "fp16"):
        raise UnsupportedPrecision(
            "float16 with T5: its feed-forward activations pass 65,504 and turn into infinities; wanted float32 or "
            "bfloat16 (--bf16)"
        )
    if dtype not in DTYPES:
        raise UnsupportedPrecision(f"wanted a dtype of {', '.join(DTYPES)}, given {dtype!r}")


def check_known_kind(kind: str) -> None:
    """Raises: WrongKind for a word that names no kind."""
    if kind not in _CLASSES:
        raise WrongKind(f"kind: wanted one of {', '.join(_CLASSES)}, given {kind!r}.{did_you_mean(kind, _CLASSES)}")


def _check_kind(kind: Kind, name: str, *, encoder_decoder: bool, model_type: str) -> None:
    own = "seq2seq" if encoder_decoder else "causal"
    if own != kind:
        suits = encoder_decoder or model_type in CAUSAL_TYPES
        hint = f"; set kind to {own}" if suits else ""
        raise WrongKind(f"{name}: wanted {_WANTED[kind]}, given a {model_type} model{hint}")
    if kind == "causal" and model_type not in CAUSAL_TYPES:
        raise WrongKind(f"{name}: wanted a model of type {' or '.join(CAUSAL_TYPES)}, given a {model_type} model")
