"""From a typed experiment to a trained network: the wiring that all training scripts share."""

from dept_vl.experiment.assembly import build, fit, start, start_trackers, training_batches
from dept_vl.experiment.components import build_task, check, load_splits, resolve, resume_point
from dept_vl.experiment.images import features, load_clip
from dept_vl.experiment.parts import Parts
from dept_vl.experiment.processes import LostProcess, together

__all__ = [
    "LostProcess",
    "Parts",
    "build",
    "build_task",
    "check",
    "features",
    "fit",
    "load_clip",
    "load_splits",
    "resolve",
    "resume_point",
    "start",
    "start_trackers",
    "together",
    "training_batches",
]
