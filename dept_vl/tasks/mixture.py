"""Several tasks that train one adapter together. Each keeps its own rows, labels and score; their mean picks the step.

The mean is that of the members' headline scores, each counted once however many rows it has, as GLUE's average is.
"""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from dept_vl.tasks.caption import CaptionTask
from dept_vl.tasks.text_task import TextTask
from dept_vl.tasks.vqa import VqaTask


class BadMixture(ValueError):
    """Tasks that cannot train one adapter together."""


@dataclass(frozen=True)
class Mixture:
    """members: at least two different tasks, all of text alone or all of images. Raises: BadMixture."""

    members: tuple[VqaTask | CaptionTask | TextTask, ...]
    headline: ClassVar[str] = "mean"
    hub: ClassVar[None] = None
    candidates: ClassVar[tuple[str, ...]] = ()
    label_meanings: ClassVar[Mapping[str, str]] = {}

    def __post_init__(self) -> None:
        names = [each.name for each in self.members]
        if len(set(names)) < len(names) or len(names) < 2:
            raise BadMixture(f"task.mixture: wanted at least two different tasks, given {', '.join(names) or 'none'}")
        if len({each.visual for each in self.members}) > 1:
            raise BadMixture(
                f"task.mixture: wanted tasks of text alone, or vqa and caption, given {', '.join(names)}: one adapter "
                "reads images in every row or in none"
            )

    @property
    def name(self) -> str:
        return "+".join(each.name for each in self.members)

    @property
    def visual(self) -> bool:
        return self.members[0].visual

    @property
    def protocol(self) -> str:
        return ", ".join(dict.fromkeys(each.protocol for each in self.members))

    @property
    def selecting(self) -> tuple[str, ...]:
        """The numbers that may choose a checkpoint: the mean, or cola/accuracy and the like."""
        return (self.headline, *(f"{each.name}/{metric}" for each in self.members for metric in each.selecting))

    def combine(self, scores: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """The members' scores by name, with the mean of their headlines and all their warnings."""
        warnings = [f"{name}: {warning}" for name, each in scores.items() for warning in each.get("warnings", [])]
        mean = statistics.fmean(scores[each.name][each.headline] for each in self.members)
        return {"mean": mean, "protocol": self.protocol, "tasks": dict(scores), "warnings": warnings}
