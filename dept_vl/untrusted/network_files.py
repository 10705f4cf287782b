"""Read the weights of a whole frozen network from a file: safetensors, or torch's of either format.

As in `tensor_files`, nothing read here is ever executed. torch's older format says in its pickle how large each storage
is and has the numbers behind it; what it says is compared with the file before torch reserves memory for it.
"""

import io
import pickletools
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dept_vl.untrusted.bad_file import BadFile
from dept_vl.untrusted.lfs_pointers import pointer_at
from dept_vl.untrusted.tensor_files import (
    as_numbers,
    is_no_state_dict,
    load_torch_dict,
    starts_as_zip,
    wrong_in_archive,
)

_MOST_PICKLE = 2**20  # bytes of a file's structure: enough for some thousand tensors
_LEGACY_PICKLES = 5  # magic number, version, machine, the dict itself, the names of its storages
_INTEGERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4")


def read_network_weights(path: Path) -> dict[str, Tensor]:
    """The weights by name, as fp32 on the CPU, without integers (the counts of batches that a batch norm keeps).

    Raises: BadFile: absent, cut short, damaged, holding other objects, or numbers that are not finite.
    """
    if not path.is_file():
        raise BadFile(path, "a file of weights", "no such file")
    if path.suffix == ".safetensors":
        try:
            state = load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise BadFile(path, "a whole safetensors file", pointer_at(path) or f"a damaged one ({error})") from error
    else:
        zipped = starts_as_zip(path)
        given = wrong_in_archive(path, path.stat().st_size, _MOST_PICKLE) if zipped else _wrong_in_legacy(path)
        if given:
            raise BadFile(path, "a torch file of tensors alone", given)
        state = load_torch_dict(path)
    return as_numbers(path, {name: value for name, value in state.items() if value.is_floating_point()})


def _wrong_in_legacy(path: Path) -> str | None:
    """Why torch must not open a file that is no zip, or None."""
    if given := pointer_at(path):
        return given
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(_MOST_PICKLE)
    stream, numbers, last = io.BytesIO(start), 0, 0
    try:
        for _ in range(_LEGACY_PICKLES):
            begin = stream.tell()
            for operation, argument, _ in pickletools.genops(stream):
                if operation.name in _INTEGERS:
                    last = int(argument or 0)
                elif operation.name == "BINPERSID":  # of a storage, whose length is the number before
                    numbers += last
            if is_no_state_dict(start[begin : stream.tell()]):
                return "a pickle with a tuple in two places or a long name, as a state dict has none"
    except ValueError as error:
        return f"one of other bytes, or whose structure has more than {_MOST_PICKLE:,} bytes ({error!s:.200})"
    return f"one of {size:,} bytes that holds {numbers:,} numbers" if numbers > size else None
