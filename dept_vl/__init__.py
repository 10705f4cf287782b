"""Soft-prompt adapters for a frozen CLIP and a frozen language model."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dept_vl.saved import load_adapter
    from dept_vl.serve import AdaptedModel

__version__ = "0.2.0"
__all__ = ["AdaptedModel", "load_adapter"]


def __getattr__(name: str) -> Any:
    """`AdaptedModel` and `load_adapter` on first use: `import dept_vl` alone loads neither torch nor models."""
    if name == "AdaptedModel":
        from dept_vl.serve import AdaptedModel

        return AdaptedModel
    if name == "load_adapter":
        from dept_vl.saved import load_adapter

        return load_adapter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
