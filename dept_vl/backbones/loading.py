"""Load a frozen language model by name and kind; fail early."""

import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    PretrainedConfig,
    PreTrainedModel,
)

from dept_vl.backbones.causal import CausalBackbone
from dept_vl.backbones.frozen import Backbone
from dept_vl.backbones.gguf import UnreadableGguf, gguf_folder
from dept_vl.backbones.laws import check_laws
from dept_vl.backbones.quantised import check_format, quantise
from dept_vl.backbones.quirks import CAUSAL_TYPES, SEQ2SEQ_TYPES, UnsupportedType, check_direction
from dept_vl.backbones.seq2seq import Seq2SeqBackbone
from dept_vl.backbones.weights import check_keys, check_values
from dept_vl.embedded import embedded
from dept_vl.registry import DeptVLWarning, did_you_mean
from dept_vl.untrusted.bad_file import reason_of
from dept_vl.untrusted.lfs_pointers import refuse_pointers
from dept_vl.untrusted.transformers_files import quiet_report, refuse_conversion

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TESTED_TYPES = (*SEQ2SEQ_TYPES, *CAUSAL_TYPES)  # the others are measured when they are loaded
_KINDS = {
    "seq2seq": ("an encoder-decoder (T5)", AutoModelForSeq2SeqLM, Seq2SeqBackbone),
    "causal": ("a decoder alone (GPT-2, LLaMA and others)", AutoModelForCausalLM, CausalBackbone),
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
    load_in: str | None = None,
) -> Backbone:
    """Loads and freezes an encoder-decoder (kind "seq2seq": T5 and others) or a decoder alone (kind "causal": GPT-2,
    LLaMA and others); the kind is never guessed. A model of a type that no test covers is read where `check_laws`
    passes, with a DeptVLWarning that says so.

    Args:
        model_name_or_path: "tiny-t5" (embedded), a folder, a hub name, or a name ending in .gguf (see `gguf_folder`).
        dtype: float32 or bfloat16, in which the weights are held.
        attn_implementation: None leaves the choice to transformers.
        load_in: int8, int8_dynamic or nf4 packs the linear layers once they are read and hashed (see `quantise`);
            None leaves them.

    Raises:
        WrongKind: an unknown kind, or a model of the other one; the message says which kind loads it.
        MissingBackbone: the name cannot be resolved, or its files cannot be read; the message says where it was
            sought, or which library is missing.
        UnfitWeights: its files lack weights, hold unknown ones or a NaN.
        UnsupportedType: a type that no test covers and in which a law does not hold, or a decoder that reads later
            tokens.
        BadFile: a file is a git-lfs pointer.
        UnsupportedPrecision: another dtype, or float16 with T5, whose feed-forward activations overflow it.
        NotQuantised: another format, its library missing, or weights that ZeRO-3 keeps in parts.
    """
    if kind not in _KINDS:
        raise WrongKind(f"kind: wanted one of {', '.join(_KINDS)}, given {kind!r}.{did_you_mean(kind, _KINDS)}")
    _check_dtype(dtype, kind)
    if load_in is not None:
        check_format(load_in)
    wanted, read, backbone = _KINDS[kind]
    try:
        path = embedded(model_name_or_path) or gguf_folder(model_name_or_path, revision) or model_name_or_path
    except UnreadableGguf as error:
        raise MissingBackbone(str(error)) from error
    refuse_conversion()
    # trust_remote_code=None would ask on the terminal whether to run a stranger's code.
    source = {"revision": revision, "trust_remote_code": False}
    _check_folder(Path(path))
    try:
        config = AutoConfig.from_pretrained(path, **source)
        _check_kind(kind, wanted, model_name_or_path, config)
        with quiet_report():
            model, report = read.from_pretrained(
                path,
                dtype=DTYPES[dtype],
                attn_implementation=attn_implementation,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # refused below, by name
                **source,
            )
        written = PretrainedConfig.get_config_dict(path, **source)[0]
    except WrongKind:
        raise
    except Exception as error:  # third parties raise what they like on a stranger's files
        refuse_pointers(Path(path), "*.safetensors", "*.bin")
        raise MissingBackbone(_explain(model_name_or_path, error)) from error
    check_keys(model_name_or_path, model, report, written)
    check_values(model_name_or_path, model)
    frozen = _wrap(backbone, model, _name(model_name_or_path), revision)
    if load_in is not None:
        frozen.identity()  # of the files' weights, so that an adapter fits the model in any format
        quantise(model, load_in)
    return frozen


def freeze(model: PreTrainedModel, *, name: str | None = None, revision: str | None = None) -> Backbone:
    """A model of transformers that is loaded already, behind `Backbone`; its config says of which kind it is. The model
    itself is frozen, and its generation config becomes a plain one: greedy, without penalties.

    name: for its identity; None: where it was loaded from.

    Raises: UnsupportedType, also for a model without a head that gives words; UnsupportedPrecision.
    """
    kind = "seq2seq" if model.config.is_encoder_decoder else "causal"
    name = name or model.name_or_path
    if not model.can_generate():
        wanted = "AutoModelForSeq2SeqLM or AutoModelForCausalLM"
        raise UnsupportedType(f"{name}: wanted a model of {wanted}, given {type(model).__name__}, which writes no text")
    _check_dtype(str(model.dtype).removeprefix("torch."), kind)
    return _wrap(_KINDS[kind][2], model, _name(name), revision)


def _name(given: str) -> str:
    """Of a folder its own name, without where it lies."""
    place = Path(given)
    return place.name if place.exists() else str(given)


def _wrap(backbone: type[Backbone], model: PreTrainedModel, name: str, revision: str | None) -> Backbone:
    """Raises: UnsupportedType."""
    given = model.config.model_type
    if backbone is CausalBackbone:
        check_direction(name, model.config)
    if given in TESTED_TYPES:
        return backbone(model, name=name, revision=revision)
    try:
        frozen = backbone(model, name=name, revision=revision)
    except AttributeError as error:  # of its config: no width, no number of positions
        raise UnsupportedType(
            f"{name}: wanted a model built as a T5, GPT-2 or LLaMA is, given one of type {given} ({error})"
        ) from error
    check_laws(frozen)
    warnings.warn(
        f"{name}: a model of type {given}, which no test of this package covers; it is used because on a short row "
        "padding, a kept prompt and embeddings in place of ids changed no logit (docs/backbones.md)",
        DeptVLWarning,
        stacklevel=3,
    )
    return frozen


def _check_folder(folder: Path) -> None:
    """Raises: BadFile for a git-lfs pointer; MissingBackbone for an adapter, which transformers would attach."""
    if not folder.is_dir():
        return
    refuse_pointers(folder, "*.json")
    if (folder / "adapter_config.json").is_file():
        raise MissingBackbone(
            f"{folder}: wanted a model's folder, given one with an adapter in it (adapter_config.json), which would "
            "become a part of the frozen model: give the folder of the model alone"
        )


def _explain(name: str, error: Exception) -> str:
    reason = reason_of(error)
    if isinstance(error, ImportError):  # its message names the library
        return (
            f"{name}: wanted a model that the installed packages read, given one that needs another. {reason}; install "
            "it or, of a quantised model, give the folder of the one it was made from"
        )
    if not isinstance(error, OSError | ValueError | SafetensorError):
        reason = f"Reading it ends in {type(error).__name__}: {reason}"
    return (
        f"{name}: wanted a folder with config.json and weights, or a model name that the hub or the local cache has "
        f"(HF_HUB_OFFLINE=1 asks the cache alone). {reason}"
    )


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
