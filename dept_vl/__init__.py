"""Soft-prompt adapters for a frozen CLIP and a frozen language model."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dept_vl.saved import load_adapter
    from dept_vl.serve import AdaptedModel
    from dept_vl.serve.plugins.adapt import adapt

__version__ = "0.2.0"
__all__ = ["AdaptedModel", "adapt", "load_adapter"]


def __getattr__(name: str) -> Any:
    """The public names on first use: `import dept_vl` alone loads neither torch nor models."""
    if name == "AdaptedModel":
        from dept_vl.serve import AdaptedModel

        return AdaptedModel
    if name == "load_adapter":
        from dept_vl.saved import load_adapter

        return load_adapter
    if name == "adapt":
        from dept_vl.serve.plugins.adapt import adapt

        return adapt
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
