"""From a typed experiment to a trained network: the wiring that all training scripts share."""

from dept_vl.experiment.assembly import Parts, build, fit, start, start_trackers
from dept_vl.experiment.components import build_task, check, features, load_clip, load_splits, resume_point

__all__ = [
    "Parts",
    "build",
    "build_task",
    "check",
    "features",
    "fit",
    "load_clip",
    "load_splits",
    "resume_point",
    "start",
    "start_trackers",
]
