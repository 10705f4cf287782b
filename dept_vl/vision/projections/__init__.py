"""From a tower's features to visual tokens, one projection per file; `contract` says what they have in common."""

from dept_vl.vision.projections.contract import PROJECTIONS, Projection, build_projection, check_projection
from dept_vl.vision.projections.linear import VisualProjection
from dept_vl.vision.projections.mlp import MlpProjection
from dept_vl.vision.projections.pixel_shuffle import PixelShuffleProjection
from dept_vl.vision.projections.resampler import ResamplerProjection

__all__ = [
    "PROJECTIONS",
    "MlpProjection",
    "PixelShuffleProjection",
    "Projection",
    "ResamplerProjection",
    "VisualProjection",
    "build_projection",
    "check_projection",
]
