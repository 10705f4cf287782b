"""The embedded default's files: tiny-t5 and tiny-clip, found by name wherever the package is installed."""

from importlib.resources import files
from pathlib import Path

EMBEDDED = ("tiny-t5", "tiny-clip")


def embedded(name: str) -> Path | None:
    """The folder of an embedded model, or None when `name` is not one.

    Raises:
        FileNotFoundError: the name is an embedded model's, but its files are not there.
    """
    if name not in EMBEDDED:
        return None
    folder = Path(str(files("dept_vl.embedded").joinpath(name)))
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: wanted the embedded {name}, found nothing; scripts/pretrain_tiny.py makes it"
        )
    return folder
