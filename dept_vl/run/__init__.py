"""From a typed experiment to a trained network: the wiring that all training scripts share."""

from dept_vl.run.assembly import build, fit, start, start_trackers, training_batches
from dept_vl.run.components import build_task, check, load_splits, notes, resolve
from dept_vl.run.images import features, load_clip
from dept_vl.run.parts import Parts
from dept_vl.run.processes import together

__all__ = [
    "Parts",
    "build",
    "build_task",
    "check",
    "features",
    "fit",
    "load_clip",
    "load_splits",
    "notes",
    "resolve",
    "start",
    "start_trackers",
    "together",
    "training_batches",
]
