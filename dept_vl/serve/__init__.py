"""Inference with saved adapters."""

from dept_vl.serve.adapted import AdaptedModel
from dept_vl.serve.named import UnknownAdapter
from dept_vl.serve.pictures import Picture, UnsupportedPicture
from dept_vl.serve.rows import WrongRows, WrongTask

__all__ = ["AdaptedModel", "Picture", "UnknownAdapter", "UnsupportedPicture", "WrongRows", "WrongTask"]
