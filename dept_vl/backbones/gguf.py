"""GGUF: a quantised language model and its tokenizer in one file, dequantised once into a folder of the cache.

    NAME.gguf -> transformers and the package gguf, fp32 -> config.json, model.safetensors, tokenizer.json

From there on it is a model's folder like any other, and its identity is the hash of the dequantised weights. A name
that ends in .gguf is a file here, package:PACKAGE/FILE, ORG/REPO/FILE on the hub, or FILE alone, which is sought among
those that were dequantised before: so an adapter that records such a name finds its model again.
"""

import importlib.util
import re
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from tokenizers import pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from dept_vl.backbones.weights import UnfitWeights, check_keys, check_values
from dept_vl.embedded.packages import MissingPackage, packaged
from dept_vl.registry import DeptVLWarning
from dept_vl.untrusted.bad_file import reason_of
from dept_vl.untrusted.converted import converted, find_converted
from dept_vl.untrusted.lfs_pointers import pointer_at
from dept_vl.untrusted.transformers_files import quiet_report

SUFFIX = ".gguf"
_KIND = "gguf-1"
_MAGIC = b"GGUF"
_PART = re.compile(r"-\d{5}-of-(\d{5})\.gguf$")  # as llama.cpp names the parts of a split file
# llama.cpp's names of the ways to cut a text before the merges, of those with each digit alone and GPT-2's words, which
# transformers 5.24 does not know: it would cut as GPT-2 does, which keeps the digits of a number together.
_DIGITS_ALONE = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")
_FREQUENCIES = "rope_"  # how names of tensors begin that transformers leaves unread


class UnreadableGguf(ValueError):
    """A .gguf that is not there, damaged, one part of several, of a type that transformers cannot dequantise, or whose
    reader is not installed."""


def gguf_folder(name: str, revision: str | None = None) -> Path | None:
    """The folder of the dequantised model that a name ending in .gguf stands for; None for any other name.

    Raises: UnreadableGguf.
    """
    if not name.endswith(SUFFIX):
        return None
    path = _find(name, revision)
    if path is None:
        if (folder := find_converted(_KIND, name)) is not None:
            return folder
        raise UnreadableGguf(
            f"{name}: wanted a .gguf file here, package:PACKAGE/FILE, ORG/REPO/FILE on the hub, or the name of a file "
            "that was dequantised before, given none of these"
        )
    _check_file(name, path)
    return converted(path, _KIND, _dequantise)


def _find(name: str, revision: str | None) -> Path | None:
    """Raises: UnreadableGguf."""
    try:
        path = packaged(name) or Path(name)
        if path.is_file() or name.count("/") < 2 or path.is_absolute():
            return path if path.is_file() else None
        owner, repository, file = name.split("/", 2)
        return Path(hf_hub_download(f"{owner}/{repository}", file, revision=revision))
    except (MissingPackage, OSError, ValueError) as error:  # the hub's errors are of both kinds
        reason = reason_of(error)
        message = reason if name in reason else f"{name}: wanted a .gguf file, given none: {reason}"
        raise UnreadableGguf(message) from error


def _check_file(name: str, path: Path) -> None:
    """Raises: UnreadableGguf."""
    if part := _PART.search(path.name):
        raise UnreadableGguf(
            f"{name}: wanted a whole .gguf file, given one of {int(part[1])} parts: join them "
            "(llama-gguf-split --merge)"
        )
    with path.open("rb") as file:
        start = file.read(len(_MAGIC))
    if start != _MAGIC:
        given = pointer_at(path) or f"a file that starts with {start!r}"
        raise UnreadableGguf(f"{name}: wanted a .gguf file, given {given}")
    if importlib.util.find_spec("gguf") is None:
        raise UnreadableGguf(
            f"{name}: wanted the package gguf, which reads such files, given none: python -m pip install gguf"
        )


def _dequantise(source: Path, folder: Path) -> None:
    """Raises: UnreadableGguf, UnfitWeights."""
    with tempfile.TemporaryDirectory() as alone:  # beside no config.json, tokenizer or adapter, which would be read too
        (Path(alone) / source.name).symlink_to(source.resolve())
        try:
            _convert(alone, source.name, folder)
        except UnfitWeights:
            raise
        except Exception as error:  # third parties raise what they like on a stranger's file
            reason = reason_of(error)
            raise UnreadableGguf(
                f"{source.name}: wanted a .gguf file that transformers can dequantise, given one where that ends in "
                f"{type(error).__name__}: {reason}"
            ) from error


def _convert(place: str, file: str, folder: Path) -> None:
    given = {"gguf_file": file, "trust_remote_code": False}
    way_to_cut, unread = _facts(Path(place, file))
    config = AutoConfig.from_pretrained(place, **given)
    read = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    with quiet_report():
        model, report = read.from_pretrained(
            place, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True, **given
        )
    check_keys(file, model, report, config.to_dict())
    check_values(file, model)
    tokenizer = AutoTokenizer.from_pretrained(place, **given)
    if way_to_cut in _DIGITS_ALONE:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    if unread:
        warnings.warn(
            f"{file}: transformers does not read {', '.join(unread)}: the model's positions may be off, most in long "
            "texts",
            DeptVLWarning,
            stacklevel=2,
        )
    with torch.device("meta"):
        plain = type(model)(config)  # the one that was read takes itself for quantised, and does not save
    plain.load_state_dict(model.state_dict(), assign=True)
    plain.tie_weights()
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _facts(path: Path) -> tuple[str | None, list[str]]:
    """How the file's vocabulary wants a text cut before its merges, and the tensors that transformers leaves unread."""
    from gguf import GGUFReader

    reader = GGUFReader(path)
    return _text(reader.fields.get("tokenizer.ggml.pre")), [
        each.name for each in reader.tensors if each.name.startswith(_FREQUENCIES)
    ]


def _text(field: Any) -> str | None:
    return None if field is None else bytes(field.parts[field.data[0]]).decode("utf-8", errors="replace")
