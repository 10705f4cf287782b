"""Reading one file of an adapter folder: every way in which it can be broken becomes one named error.

Nothing read here is ever executed: JSON, safetensors, and torch's pickles with `weights_only=True`.
"""

import struct
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dept_vl.json_text import NotJson, parse_json

CONFIG, WEIGHTS, CARD = "adapter_config.json", "adapter_model.safetensors", "README.md"
TORCH_WEIGHTS = "adapter_model.bin"


class BadAdapterFolder(ValueError):
    """A file of an adapter folder is not what it should be: names the file, the wanted and the given."""

    def __init__(self, file: Path, wanted: str, given: str) -> None:
        super().__init__(file, wanted, given)
        self.file, self.wanted, self.given = file, wanted, given

    def __str__(self) -> str:
        return f"{self.file}: wanted {self.wanted}, given {self.given}"


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


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Raises: BadAdapterFolder: no such file, one cut short or damaged, weights that are no finite numbers."""
    if not path.is_file():
        raise BadAdapterFolder(path, "the adapter's weights", "no such file")
    try:
        state = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        given = _cut_short(path) or f"a damaged one ({error})"
        raise BadAdapterFolder(path, "a whole safetensors file", given) from error
    return _as_numbers(path, state)


def read_torch_weights(path: Path) -> dict[str, Tensor]:
    """A `.bin` of tensors, on the CPU. Raises: BadAdapterFolder, also for a pickle that would execute something."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's zip and pickle readers raise what they like on damaged bytes
        told = (str(error) or type(error).__name__).splitlines()[0]
        given = f"one that is cut short, damaged or holds other objects ({told:.200})"
        raise BadAdapterFolder(path, "a torch file of tensors alone", given) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise BadAdapterFolder(path, "a dict of tensors", type(state).__name__)
    return _as_numbers(path, state)


def load_weights(module: torch.nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Copy `state` into `module`. Raises: BadAdapterFolder listing what is missing, unknown or of another shape."""
    own = module.state_dict()
    wrong = [f"no {name}" for name in own if name not in state]
    wrong += [f"the unknown {name}" for name in state if name not in own]
    wrong += [
        f"{name} {list(state[name].shape)} where the config says {list(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if wrong:
        raise BadAdapterFolder(path, "weights of the shapes that the config says", "; ".join(wrong))
    module.load_state_dict(state)


def check_finite(state: dict[str, Tensor]) -> str | None:
    """What is wrong with the first tensor that holds a NaN or an infinity, or None."""
    for name, value in state.items():
        wrong = value.numel() - int(value.isfinite().sum())
        if wrong:
            return f"{name} with {wrong:,} of {value.numel():,} NaN or infinite"
    return None


def _as_numbers(path: Path, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """fp32, whatever float type the file has. Raises: BadAdapterFolder."""
    whole = [f"{name} of {value.dtype}" for name, value in state.items() if not value.is_floating_point()]
    given = whole[0] if whole else check_finite(state)
    if given:
        raise BadAdapterFolder(path, "finite floating point weights", given)
    return {name: value.float() for name, value in state.items()}


def _cut_short(path: Path) -> str | None:
    """How many bytes a safetensors file lacks of what its header announces; None when it is broken otherwise."""
    data = path.read_bytes()
    if len(data) < 8:
        return f"one cut short: {len(data)} bytes, fewer than its length field"
    header_size = struct.unpack("<Q", data[:8])[0]
    if len(data) < 8 + header_size:
        return f"one cut short: {len(data):,} bytes, its header alone has {8 + header_size:,}"
    try:
        header = parse_json(data[8 : 8 + header_size])
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        size = 8 + header_size + max(ends, default=0)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None
    return f"one cut short: {len(data):,} of {size:,} bytes" if len(data) < size else None
