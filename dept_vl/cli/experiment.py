"""From a command's flags to the experiment that they describe, over the default files of its kind of task."""

import itertools
from collections.abc import Sequence

from dept_vl.config import Experiment, config_files, parse_experiment
from dept_vl.tasks import TASKS, TextTask

KINDS = ("vqa", "caption", "text")
"""Kinds of task, each with default files of its own."""


def kind_of_task(argv: Sequence[str]) -> str | None:
    """vqa, caption or text, by the task that flags name; None where they name none."""
    words = [part for word in argv for part in word.split("=", 1)]
    flags = ("--task", "--task.name", "--task.mixture")
    names = [name for flag, name in itertools.pairwise(words) if flag in flags]
    name = names[-1].partition(",")[0].strip("[]'\" ") if names else ""
    return "text" if isinstance(TASKS.get(name), TextTask) else name if name in ("caption", "vqa") else None


def parse_run(argv: Sequence[str], kind: str, about: str, program: str) -> Experiment:
    """The experiment of the flags, over the default files of vqa, caption or text. Raises: SystemExit."""
    adapter = "dept_vqa" if kind == "vqa" else "dept"
    defaults = config_files("backbones/tiny.yaml", f"tasks/{kind}_shapes.yaml", f"adapters/{adapter}.yaml")
    return parse_experiment(argv, description=about, defaults=defaults, prog=program)
