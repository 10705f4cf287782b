"""From a typed experiment to a trained network: the wiring that all training scripts share."""

from dept_vl.run.assembly import build, start, start_trackers
from dept_vl.run.components import check, load_splits, notes
from dept_vl.run.fitting import fit, training_batches
from dept_vl.run.images import features, load_tower
from dept_vl.run.parts import Parts
from dept_vl.run.processes import together
from dept_vl.run.tasks import build_task, members, resolve

__all__ = [
    "Parts",
    "build",
    "build_task",
    "check",
    "features",
    "fit",
    "load_splits",
    "load_tower",
    "members",
    "notes",
    "resolve",
    "start",
    "start_trackers",
    "together",
    "training_batches",
]
