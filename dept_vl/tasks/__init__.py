"""Tasks: data plus two functions, `read` (a row to an example) and `score` (answers by id to numbers)."""

from dept_vl.registry import Registry
from dept_vl.tasks.caption import CaptionTask
from dept_vl.tasks.example import Example
from dept_vl.tasks.vqa import VqaTask

TASKS: Registry = Registry("task")
TASKS.add("vqa", VqaTask)
TASKS.add("caption", CaptionTask)

__all__ = ["TASKS", "CaptionTask", "Example", "VqaTask"]
