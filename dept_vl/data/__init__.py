"""Data sets in their official file formats."""

from dept_vl.data.annotation_files import BadAnnotation, MissingFile
from dept_vl.data.image_files import MissingImages
from dept_vl.data.sources import EmptySplit, Loaded, load_aokvqa, load_caption, load_vqa

__all__ = [
    "BadAnnotation",
    "EmptySplit",
    "Loaded",
    "MissingFile",
    "MissingImages",
    "load_aokvqa",
    "load_caption",
    "load_vqa",
]
