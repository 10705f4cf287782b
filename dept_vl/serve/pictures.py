"""What a caller may give as an image, and the pixels that CLIP reads of it."""

from collections.abc import Callable
from pathlib import Path

from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor

from dept_vl.untrusted.images import to_rgb
from dept_vl.vision import UnreadableImage, open_image

Picture = str | Path | Image.Image | Tensor
"""A file, a picture, or the pixels that `AdaptedModel.preprocess` made of either."""

_EIGHT_BITS = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")


class UnsupportedPicture(ValueError):
    """A picture in memory that has no plain meaning as 8-bit RGB."""


def pixels_of(picture: Picture, preprocess: Callable[[Image.Image], Tensor]) -> Float[Tensor, "3 height width"]:
    """A picture is shown upright and on white, as `open_image` shows a file; pixels are taken as they are.

    Raises: UnreadableImage for a file; UnsupportedPicture for a picture in memory.
    """
    if isinstance(picture, Tensor):
        return picture
    if isinstance(picture, Image.Image):
        return preprocess(upright_rgb(picture))
    opened = open_image(picture)
    try:
        return preprocess(opened)
    except ValueError as error:  # a strip too thin to resize
        raise UnreadableImage(picture, str(error)) from error


def upright_rgb(picture: Image.Image) -> Image.Image:
    """Turned as its EXIF says, laid on white where it is transparent. Raises: UnsupportedPicture."""
    if picture.mode not in _EIGHT_BITS:
        raise UnsupportedPicture(
            f"wanted a picture of 8 bits a channel, given mode {picture.mode!r}: give its file instead, whose "
            "reading scales 16 bits to 8"
        )
    return to_rgb(ImageOps.exif_transpose(picture))
