"""Shapes: a generated visual world, deterministic from a seed, written in the official COCO and VQA v2 formats.

`world` holds the scenes, `render` their pictures, `language` the questions, answers and captions,
`files` the data set on disk. Nothing here imports torch.
"""

from dept_vl.embedded.shapes.files import write_shapes
from dept_vl.embedded.shapes.text import write_text_shapes

__all__ = ["write_shapes", "write_text_shapes"]
