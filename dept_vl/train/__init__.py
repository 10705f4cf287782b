"""The training loop for adapters, its state and its log."""

from dept_vl.train.engines import sharded_blocks
from dept_vl.train.learning import LearningWarning
from dept_vl.train.log import RunLog, flat
from dept_vl.train.loop import Trained, train
from dept_vl.train.state import NonFiniteLoss, Plan, newest_checkpoint

__all__ = [
    "LearningWarning",
    "NonFiniteLoss",
    "Plan",
    "RunLog",
    "Trained",
    "flat",
    "newest_checkpoint",
    "sharded_blocks",
    "train",
]
