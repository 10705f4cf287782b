"""Read one file of an adapter folder; every way in which it can be broken is a `BadAdapterFolder`."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dept_vl.part import misfits
from dept_vl.untrusted.bad_file import BadFile
from dept_vl.untrusted.json_files import NotJson, parse_json
from dept_vl.untrusted.tensor_files import read_safetensors, read_torch_weights

CONFIG, WEIGHTS, CARD = "adapter_config.json", "adapter_model.safetensors", "README.md"
TORCH_WEIGHTS = "adapter_model.bin"
PEFT = "peft"  # the sub-folder in PEFT's own format


class BadAdapterFolder(BadFile):
    """A file of an adapter folder is not what it should be: names the file, the wanted and the given."""


def read_config(folder: Path) -> dict[str, Any]:
    """`adapter_config.json` as a dict. Raises: BadAdapterFolder."""
    if not folder.is_dir():
        raise BadAdapterFolder(folder, f"a folder with {CONFIG}", "no such folder")
    path = folder / CONFIG
    if not path.is_file():
        inside = sorted(each.parent.name for each in folder.glob(f"*/{CONFIG}"))
        raise BadAdapterFolder(
            path, "an adapter's config", f"no such file{inside and f'; its sub-folders {inside} have one' or ''}"
        )
    try:
        text = path.read_bytes().decode("utf-8")
        config = parse_json(text)
    except UnicodeDecodeError as error:
        raise BadAdapterFolder(path, "UTF-8 text", f"bytes that are not ({error})") from error
    except NotJson as error:
        raise BadAdapterFolder(path, "a whole JSON object", f"one {error}") from error
    if not isinstance(config, dict):
        raise BadAdapterFolder(path, "a JSON object at the top", type(config).__name__)
    return config


def read_field(path: Path, config: dict[str, Any], name: str, kind: type, *, minimum: int | None = None) -> Any:
    """`config[name]`, checked to be exactly a `kind`. Raises: BadAdapterFolder."""
    if name not in config:
        raise BadAdapterFolder(path, f"the key {name!r}", f"only {sorted(config)}")
    value = config[name]
    if type(value) is not kind or (minimum is not None and value < minimum):
        at_least = "" if minimum is None else f" >= {minimum}"
        raise BadAdapterFolder(path, f"{name} as {kind.__name__}{at_least}", f"{value!r:.80}")
    return value


def read_card(folder: Path) -> str:
    """The README's text, "" where there is none. Raises: BadAdapterFolder."""
    path = folder / CARD
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else ""
    except UnicodeDecodeError as error:
        raise BadAdapterFolder(path, "UTF-8 text", f"bytes that are not ({error})") from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a torch `.bin`, as fp32 on the CPU. Raises: BadAdapterFolder."""
    try:
        return read_torch_weights(path) if path.suffix == ".bin" else read_safetensors(path)
    except BadFile as error:
        raise BadAdapterFolder(error.file, error.wanted, error.given) from error


def load_weights(module: torch.nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Copy `state` into `module`, whose weights take memory (and leave the meta device) only once the shapes agree.

    Raises: BadAdapterFolder listing what is missing, unknown or of another shape.
    """
    if wrong := misfits(module.state_dict(), state):
        raise BadAdapterFolder(path, "weights of the shapes that the config says", "; ".join(wrong))
    module.to_empty(device="cpu").load_state_dict(state)
