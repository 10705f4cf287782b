"""The image side: pictures, frozen towers read as grids, the store of their features, the trained projection."""

from dept_vl.untrusted.images import UnreadableImage, open_image
from dept_vl.vision.build import TOWER_SETTINGS, build_tower, with_source
from dept_vl.vision.clip import FrozenClip, UnloadableClip
from dept_vl.vision.projections import PROJECTIONS, Projection, VisualProjection, build_projection
from dept_vl.vision.store import FeatureStore, UnreadableImages, extract
from dept_vl.vision.tower import Tower, UnloadableTower

__all__ = [
    "FeatureStore",
    "FrozenClip",
    "PROJECTIONS",
    "Projection",
    "TOWER_SETTINGS",
    "Tower",
    "UnloadableClip",
    "UnloadableTower",
    "UnreadableImage",
    "UnreadableImages",
    "VisualProjection",
    "build_projection",
    "build_tower",
    "extract",
    "open_image",
    "with_source",
]
