"""The image side: pictures, a frozen CLIP's grid, the store of its features, the trained projection."""

from dept_vl.untrusted.images import UnreadableImage, open_image
from dept_vl.vision.clip import FrozenClip, UnloadableClip
from dept_vl.vision.projection import VisualProjection
from dept_vl.vision.store import FeatureStore, UnreadableImages, extract

__all__ = [
    "FeatureStore",
    "FrozenClip",
    "UnloadableClip",
    "UnreadableImage",
    "UnreadableImages",
    "VisualProjection",
    "extract",
    "open_image",
]
