"""Inference with saved adapters."""

from dept_vl.predict.adapted import AdaptedModel
from dept_vl.predict.named import BASE_NAME, UnknownAdapter
from dept_vl.predict.pictures import Picture, UnsupportedPicture
from dept_vl.predict.rows import WrongRows, WrongTask

__all__ = [
    "BASE_NAME",
    "AdaptedModel",
    "Picture",
    "UnknownAdapter",
    "UnsupportedPicture",
    "WrongRows",
    "WrongTask",
]
