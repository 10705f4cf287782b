"""Data sets in their official file formats."""

from dept_vl.data.data_root import MissingFile, MissingImages
from dept_vl.data.sources import EmptySplit, Loaded, load_aokvqa, load_caption, load_vqa

__all__ = ["EmptySplit", "Loaded", "MissingFile", "MissingImages", "load_aokvqa", "load_caption", "load_vqa"]
