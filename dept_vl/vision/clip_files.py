"""Hold a CLIP to its files: no git-lfs pointer, no table of positions of another size, no weight that is not finite."""

import glob
import re
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import nn

from dept_vl.untrusted.bad_file import BadFile, listed
from dept_vl.untrusted.lfs_pointers import refuse_pointers
from dept_vl.untrusted.tensor_files import check_finite
from dept_vl.vision.tower import UnloadableTower

_POSITIONS = "visual.positional_embedding"


class UnloadableClip(UnloadableTower):
    """A CLIP that cannot be loaded, with what was wanted and given."""


def check_files(name: str, pretrained: str | None, *forms: str) -> None:
    """Look at the files of these forms in a local folder, and at a weights file. Raises: UnloadableClip."""
    try:
        if name.startswith("local-dir:"):
            refuse_pointers(Path(name.removeprefix("local-dir:")), *forms)
        elif pretrained:
            refuse_pointers(Path(pretrained).parent, glob.escape(Path(pretrained).name))
    except BadFile as error:
        raise UnloadableClip(f"CLIP {name!r}: {error}") from error


def check_tower(name: str, tower: nn.Module) -> None:
    """Raises: UnloadableClip for weights that are not finite, or that open_clip stretched to another size."""
    if given := check_finite(tower.state_dict()):
        raise UnloadableClip(
            f"CLIP {name!r}: wanted finite weights, given {given}: download the model again, or convert it anew"
        )
    table = getattr(tower, "positional_embedding", None)
    if table is None or not name.startswith("local-dir:"):
        return
    for file in sorted(Path(name.removeprefix("local-dir:")).glob("*.safetensors")):
        stored = _shape(file)
        if stored not in (None, list(table.shape)):
            raise UnloadableClip(
                f"CLIP {name!r}: wanted {_POSITIONS} of {list(table.shape)}, as open_clip_config.json says, given "
                f"{stored} in {file.name}, which open_clip would stretch: set the image_size that it was trained with"
            )


def _shape(file: Path) -> list[int] | None:
    """Of the positions that a file holds; None where it holds none."""
    try:
        with safe_open(file, framework="pt") as tensors:
            return tensors.get_slice(_POSITIONS).get_shape() if _POSITIONS in tensors.keys() else None
    except SafetensorError:  # a file beside the one that was read
        return None


def shorten(error: Exception) -> str:
    """In one line; of the weights that torch lists as missing, unexpected or of another size the first and how many."""
    lines = [line.strip() for line in str(error).splitlines()]
    sizes = [line for line in lines if line.startswith("size mismatch")]
    shown = [_counted(line) for line in lines if line and line not in sizes]
    if sizes:
        shown.append(f"{len(sizes):,} of another size ({sizes[0]})")
    return " ".join(shown) or type(error).__name__


def _counted(line: str) -> str:
    names = re.findall(r'"([^"]+)"', line)
    return f"{line.partition(':')[0]}: {listed(names, show=3)};" if len(names) > 3 else line
