"""The tokenizer that belongs to a backbone: found by the same name, and checked against its facts."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, ByT5Tokenizer
from transformers import PreTrainedTokenizerBase as Tokenizer

from dept_vl.backbones.gguf import UnreadableGguf, gguf_folder
from dept_vl.data.byte_tokenizer import fast_byt5
from dept_vl.embedded import embedded
from dept_vl.registry import did_you_mean
from dept_vl.untrusted.bad_file import reason_of
from dept_vl.untrusted.lfs_pointers import refuse_pointers

_SPARE_ROWS = 1024  # of an embedding table that no token uses; CodeGen has 905, T5 28


class MissingTokenizer(ValueError):
    """No tokenizer in that folder, or under that name on the hub or in its cache."""


class SlowTokenizer(ValueError):
    """A tokenizer written in Python: it does not tell which characters a token stands for."""


class MissingPadToken(ValueError):
    """A tokenizer without a padding token, or a padding token that is not in its vocabulary."""


class WrongTokenizer(ValueError):
    """A tokenizer that does not belong to the backbone."""


def load_tokenizer(name_or_path: str, revision: str | None = None, pad_token: str | None = None) -> Tokenizer:
    """The tokenizer that belongs to a backbone, by the same name. No token is ever added to it.

    pad_token: a token of its vocabulary to pad with, for a tokenizer that has none of its own.

    Raises: MissingTokenizer, SlowTokenizer, MissingPadToken; BadFile: a file is a git-lfs pointer.
    """
    try:
        place = embedded(name_or_path) or gguf_folder(name_or_path, revision) or name_or_path
    except UnreadableGguf as error:
        raise MissingTokenizer(str(error)) from error
    refuse_pointers(Path(place), "*.json", "*.txt", "*.model")
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, revision=revision, trust_remote_code=False)
    except Exception as error:  # third parties raise what they like on a stranger's files
        reason = reason_of(error)
        if not isinstance(error, OSError | ValueError | ImportError):
            reason = f"Reading it ends in {type(error).__name__}: {reason}"
        raise MissingTokenizer(
            f"{name_or_path}: wanted a folder with tokenizer files, or a model name that the hub or the local cache "
            f"has. {reason}"
        ) from error
    if isinstance(tokenizer, ByT5Tokenizer):  # bytes, so it has no file with a vocabulary
        tokenizer = fast_byt5(tokenizer)
    else:
        require_fast(tokenizer)
        _check_vocabulary(tokenizer, Path(place))
    if pad_token is not None:
        if pad_token not in tokenizer.get_vocab():
            hint = did_you_mean(pad_token, tokenizer.all_special_tokens)
            raise MissingPadToken(
                f"{name_or_path}: wanted a backbone.pad_token of the tokenizer's {len(tokenizer):,} tokens, "
                f"given {pad_token!r}.{hint}"
            )
        tokenizer.pad_token = pad_token
    pad_id(tokenizer)
    return tokenizer


def _check_vocabulary(tokenizer: Tokenizer, folder: Path) -> None:
    """transformers makes a tokenizer of special tokens alone, or of letters, where a folder lacks its vocabulary.

    Raises: MissingTokenizer.
    """
    whole = [path for form in ("tokenizer.*json", "tekken.json", "*.model") for path in folder.glob(form)]
    files = [file for kind, file in tokenizer.vocab_files_names.items() if kind != "tokenizer_file"]
    absent = [file for file in files if not (folder / file).is_file()]
    if folder.is_dir() and not whole and (absent or not files):
        wanted = " or ".join(filter(None, ["tokenizer.json", " and ".join(files)]))
        raise MissingTokenizer(
            f"{folder}: wanted a tokenizer with its vocabulary ({wanted}), "
            f"given {type(tokenizer).__name__} without {', '.join(absent) or 'any'}"
        )


def pad_id(tokenizer: Tokenizer) -> int:
    """The id that fills up a batch. Raises: MissingPadToken."""
    if tokenizer.pad_token_id is None:
        eos = tokenizer.eos_token or "<|endoftext|>"
        raise MissingPadToken(
            f"{tokenizer.name_or_path}: the tokenizer has no padding token; set backbone.pad_token to one of its "
            f"tokens, such as its end-of-sequence token {eos!r}, with which the published GPT-2 runs pad"
        )
    return tokenizer.pad_token_id


def check_tokenizer(
    tokenizer: Tokenizer, *, rows: int, eos_token_id: int | Sequence[int] | None, pad_token_id: int | None, name: str
) -> None:
    """Check that a tokenizer belongs to the backbone `name`.

    rows: of the backbone's embedding table; there may be some more than tokens (T5: 32,128 and 32,100). eos_token_id,
    pad_token_id: the backbone's; several end tokens are all right; None is not compared.

    Raises: WrongTokenizer.
    """
    tokens = max(tokenizer.get_vocab().values()) + 1
    ends = [eos_token_id] if isinstance(eos_token_id, int) else eos_token_id
    for what, wanted, given, good in (
        ("tokens", f"at most {rows:,}, the rows of the embedding table", f"{tokens:,}", tokens <= rows),
        ("tokens", f"about {rows:,}, the rows of the embedding table", f"{tokens:,}", tokens >= rows - _SPARE_ROWS),
        (
            "end-of-sequence id", f"the backbone's {eos_token_id}", tokenizer.eos_token_id,
            ends is None or tokenizer.eos_token_id in ends,
        ),
        (
            "padding id", f"the backbone's {pad_token_id}", tokenizer.pad_token_id,
            pad_token_id in (None, tokenizer.pad_token_id),
        ),
    ):  # fmt: skip
        if not good:
            raise WrongTokenizer(
                f"{name}: the tokenizer {tokenizer.name_or_path} is not this backbone's: {what}: wanted {wanted}, "
                f"given {given}; copy the tokenizer's files from where the model's weights are from"
            )


def load_fitting(
    name_or_path: str, facts: Mapping[str, Any], *, kind: str, revision: str | None = None, pad_token: str | None = None
) -> Tokenizer:
    """Load the tokenizer of that name and check that it belongs to a backbone with these `token_facts`.

    Raises: as `load_tokenizer` and `check_tokenizer`.
    """
    tokenizer = load_tokenizer(name_or_path, revision, pad_token)
    _drop_without_row(tokenizer, facts["vocabulary"])
    check_tokenizer(
        tokenizer,
        rows=facts["vocabulary"],
        eos_token_id=facts["eos_token_id"],
        pad_token_id=facts["pad_token_id"] if kind == "seq2seq" else None,  # a causal model's is any token
        name=name_or_path,
    )
    return tokenizer


def _drop_without_row(tokenizer: Tokenizer, rows: int) -> None:
    """Take out special tokens that the backbone's table has no row for, so that no text has them: the image token of
    Gemma 3's text models. What begins, ends or pads a text stays, to be refused."""
    beyond = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special and id >= rows}
    needed = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id}
    if not beyond or beyond & needed:
        return
    backend = tokenizer.backend_tokenizer
    state = json.loads(backend.to_str())
    state["added_tokens"] = [each for each in state["added_tokens"] if each["id"] not in beyond]
    backend.__setstate__(json.dumps(state).encode())


def require_fast(tokenizer: Tokenizer) -> None:
    """Raises: SlowTokenizer."""
    if not tokenizer.is_fast:
        raise SlowTokenizer(
            f"{tokenizer.name_or_path}: wanted a fast tokenizer (tokenizer.json), given {type(tokenizer).__name__}, "
            "which does not say which characters a token stands for; "
            "AutoTokenizer.from_pretrained(...).save_pretrained(folder) writes a fast one where transformers has one"
        )
