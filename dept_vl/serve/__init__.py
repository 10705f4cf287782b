"""Inference with saved adapters."""

from dept_vl.serve.adapted import AdaptedModel
from dept_vl.serve.chat import Conversation
from dept_vl.serve.named import UnknownAdapter
from dept_vl.serve.pictures import Picture, UnsupportedPicture
from dept_vl.serve.rows import Text, WrongRows, WrongTask

__all__ = [
    "AdaptedModel",
    "Conversation",
    "Picture",
    "Text",
    "UnknownAdapter",
    "UnsupportedPicture",
    "WrongRows",
    "WrongTask",
]
