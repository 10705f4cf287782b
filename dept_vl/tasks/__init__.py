"""Tasks: data plus two functions, `read` (a row to an example) and `score` (answers by id to numbers)."""

from dept_vl.registry import Registry
from dept_vl.tasks.caption import CaptionTask
from dept_vl.tasks.example import Example
from dept_vl.tasks.glue import GLUE
from dept_vl.tasks.mixture import Mixture
from dept_vl.tasks.mrqa import MRQA
from dept_vl.tasks.other import OTHER
from dept_vl.tasks.own_text import OWN_TEXT
from dept_vl.tasks.shapes_text import SHAPES_TEXT
from dept_vl.tasks.squad import SQUAD
from dept_vl.tasks.superglue import SUPERGLUE
from dept_vl.tasks.text_task import TextTask
from dept_vl.tasks.vqa import VqaTask
from dept_vl.tasks.xsum import XSUM

Task = VqaTask | CaptionTask | TextTask

TASKS: Registry[Task] = Registry("task")
"""Task by id. Ids are those of DePT's code; SuperGLUE's stand under their bare names too, but for rte (GLUE's)."""

for _task in (VqaTask(), CaptionTask(), *GLUE, *SUPERGLUE, *MRQA, *SQUAD, *XSUM, *OTHER, *SHAPES_TEXT, OWN_TEXT):
    TASKS.add(_task.name, _task)
for _task in SUPERGLUE:
    if (_name := _task.name.removeprefix("superglue-").removesuffix(".fixed")) not in TASKS:
        TASKS.add(_name, _task)

__all__ = ["OWN_TEXT", "TASKS", "CaptionTask", "Example", "Mixture", "Task", "TextTask", "VqaTask"]
