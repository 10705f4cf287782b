"""Read untrusted tensors: safetensors, and torch's `.bin` with `weights_only=True` once its size is checked.

Nothing read here is ever executed, and nothing takes more memory than the file has bytes.
"""

import pickletools
import struct
import zipfile
import zlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dept_vl.untrusted.bad_file import BadFile, reason_of
from dept_vl.untrusted.json_files import parse_json
from dept_vl.untrusted.lfs_pointers import pointer_at

_ZIP = b"PK\x03\x04"
_MOST_PICKLE = 16 * 2**10  # bytes of a .bin's structure: enough for 100 tensors
_MOST_NAME = 100  # characters: torch searches what it cannot read, a name for instance, in quadratic time
_MOST_HEADER = 2**20  # of a safetensors file: ours have less than a thousand bytes


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file as fp32. Raises: BadFile: absent, cut short, damaged, or not finite."""
    if not path.is_file():
        raise BadFile(path, "a safetensors file", "no such file")
    try:
        state = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        given = pointer_at(path) or _cut_short(path) or f"a damaged one ({error})"
        raise BadFile(path, "a whole safetensors file", given) from error
    return as_numbers(path, state)


def read_torch_weights(path: Path) -> dict[str, Tensor]:
    """Read a `.bin` of tensors as fp32, on the CPU.

    Raises: BadFile, also for a pickle that would execute something or never end, and for tensors or packed
    bytes that take more memory than the file has bytes.
    """
    if given := wrong_in_archive(path, path.stat().st_size):
        raise BadFile(path, "a torch file of tensors alone", given)
    return as_numbers(path, load_torch_dict(path))


def load_torch_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a torch file whose structure has been looked at. Raises: BadFile."""
    size = path.stat().st_size
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's zip and pickle readers raise what they like on damaged bytes
        reason = reason_of(error)
        given = f"one that is cut short, damaged or holds other objects ({reason})"
        raise BadFile(path, "a torch file of tensors alone", given) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise BadFile(path, "a dict of tensors", type(state).__name__)
    for name, value in state.items():
        if value.layout is not torch.strided or value.device.type != "cpu" or value.is_quantized:
            given = f"{name!r:.80} of {value.dtype}, {value.layout}, on {value.device.type}"
            raise BadFile(path, "plain tensors", given)
    if (held := sum(value.numel() * value.element_size() for value in state.values())) > size:
        raise BadFile(path, "tensors that the file holds", f"{held:,} bytes of them in {size:,}")
    return state


def check_finite(state: dict[str, Tensor]) -> str | None:
    """Describe the first tensor that holds a NaN or an infinity; None where there is none. One pass, without a copy."""
    for name, value in state.items():
        if value.numel() and value.is_floating_point() and not torch.stack(value.aminmax()).isfinite().all():
            wrong = value.numel() - int(value.isfinite().sum())
            return f"{name} with {wrong:,} of {value.numel():,} NaN or infinite"
    return None


def as_numbers(path: Path, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """fp32, whatever float type the file has. Raises: BadFile."""
    whole = [f"{name} of {value.dtype}" for name, value in state.items() if not value.is_floating_point()]
    numbers = {} if whole else {name: value.float() for name, value in state.items()}
    if given := whole[0] if whole else check_finite(numbers):  # of fp32: a double may be beyond its range
        raise BadFile(path, "finite floating point weights", given)
    return numbers


def starts_as_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_ZIP)) == _ZIP


def wrong_in_archive(path: Path, size: int, most_pickle: int = _MOST_PICKLE) -> str | None:
    """Why torch must not open this file, or None: it allocates what a zip claims, and its reader of pickles, though it
    executes nothing, can be made to take hours."""
    if not starts_as_zip(path):
        return pointer_at(path) or "one of other bytes"
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            unpacked = sum(entry.file_size for entry in entries)
            if unpacked > size:  # torch.save packs nothing
                return f"one of {size:,} bytes that unpacks to {unpacked:,}"
            for entry in entries:
                if entry.filename.endswith("data.pkl"):
                    if entry.file_size > most_pickle:
                        return f"one with {entry.file_size:,} bytes of pickle, more than {most_pickle:,}"
                    if is_no_state_dict(archive.read(entry)):
                        return "a pickle with a tuple in two places or a long name, as a state dict has none"
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, NotImplementedError, RuntimeError, EOFError) as error:
        return f"one that is cut short, damaged or holds other objects ({error!s:.200})"
    return None


def is_no_state_dict(pickled: bytes) -> bool:
    """Whether a pickle holds what a state dict's never does: a tuple twice (pairs of pairs of pairs, whose hash never
    ends) or a long name. Raises: ValueError.
    """
    tuples: set[int] = set()
    before = ""
    for operation, argument, _ in pickletools.genops(pickled):
        if operation.name in ("BINPUT", "LONG_BINPUT") and before.endswith(("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3")):
            tuples.add(int(argument or 0))
        elif operation.name in ("BINGET", "LONG_BINGET") and argument in tuples:
            return True
        elif isinstance(argument, str) and len(argument) > _MOST_NAME:
            return True
        before = operation.name
    return False


def _cut_short(path: Path) -> str | None:
    """How many bytes a safetensors file lacks of what its header announces; None when it is broken otherwise."""
    given = path.stat().st_size
    if given < 8:
        return f"one cut short: {given} bytes, fewer than its length field"
    with path.open("rb") as file:
        header_size = struct.unpack("<Q", file.read(8))[0]
        if given < 8 + header_size:
            return f"one cut short: {given:,} bytes, its header alone has {8 + header_size:,}"
        if header_size > _MOST_HEADER:
            return f"one whose header has {header_size:,} bytes"
        text = file.read(header_size)
    try:
        header = parse_json(text)
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        size = 8 + header_size + max(ends, default=0)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None
    return f"one cut short: {given:,} of {size:,} bytes" if given < size else None
