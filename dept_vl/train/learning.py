"""Signs that a run does not learn: a group without gradients, a score that stays where it is."""

import warnings
from collections.abc import Iterable, Mapping, Sequence

from dept_vl.registry import DeptVLWarning

_PATIENCE = 3  # evaluations or log lines without any change before a warning
_ALL_RIGHT = 1.0  # of a score that is a fraction, at which it rightly stays


class LearningWarning(DeptVLWarning):
    """It runs but does not learn."""


class StillGroups:
    """How many log lines in a row each group's gradient was zero; `counts` goes into checkpoints."""

    def __init__(self, groups: Iterable[str]) -> None:
        self.counts = dict.fromkeys(groups, 0)

    def watch(self, step: int, norms: Mapping[str, float]) -> None:
        for name, norm in norms.items():
            self.counts[name] = self.counts[name] + 1 if norm == 0 else 0
            if self.counts[name] == _PATIENCE:
                warnings.warn(
                    f"step {step}: the gradient of group {name!r} has been zero on {_PATIENCE} log lines in a row; "
                    "these weights do not learn (is their part of the input used?)",
                    LearningWarning,
                    stacklevel=4,
                )


def watch_score(step: int, metric: str, values: Sequence[float]) -> None:
    """Warns where the last evaluations all gave the same `values` of `metric`, short of all right."""
    recent = values[-_PATIENCE:]
    if len(recent) == _PATIENCE and len(set(recent)) == 1 and recent[0] != _ALL_RIGHT:
        warnings.warn(
            f"step {step}: {metric} has been {recent[0]:.4f} in {_PATIENCE} evaluations in a row; "
            "it runs but does not learn. Prompts often stay at the majority answer for thousands of steps: "
            "compare learning rates (optim.lr) and starts (adapter.start) before waiting longer",
            LearningWarning,
            stacklevel=4,
        )
