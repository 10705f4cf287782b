"""What a caller may give as an image, and the pixels that the tower reads of it."""

import contextlib
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor

from dept_vl.untrusted.images import MAX_PIXELS, check_image, to_rgb
from dept_vl.vision import Tower, UnreadableImage, open_image


@runtime_checkable
class Readable(Protocol):
    """An open binary file, or what reads like one."""

    def read(self) -> bytes: ...


class Pixels(Tensor):
    """What `AdaptedModel.preprocess` made, so that it is not taken for a picture of floats from 0 to 1."""


Picture = str | os.PathLike[Any] | bytes | bytearray | memoryview | Readable | Image.Image | np.ndarray | Tensor
"""A path; a file's bytes, or the file open; a PIL picture; an array or tensor of uint8, or of floats from 0 to 1, with
1, 3 or 4 channels in front or behind, or [height, width]; or the `Pixels` of `AdaptedModel.preprocess`."""

_EIGHT_BITS = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
_CHANNELS = (1, 3, 4)  # grey, RGB, RGBA


class UnsupportedPicture(ValueError):
    """What is no picture, or one in memory that has no plain meaning as 8-bit RGB."""


def check_picture(picture: Any) -> Picture:
    """The picture, of an open file its bytes, once its type, its shape and values or its header are good.

    Raises: UnsupportedPicture; UnreadableImage for a file. One that is cut shows only when it is decoded.
    """
    match picture:
        case str() | bytes():
            check_image(picture)
        case os.PathLike():
            check_image(picture := Path(picture))
        case bytearray() | memoryview():
            check_image(picture := bytes(picture))
        case Image.Image():
            _check_in_memory(picture)
        case Pixels():
            pass
        case np.ndarray() | Tensor():
            _check_array(picture)
        case Readable():
            check_image(picture := _content(picture))
        case _:
            wanted = "a picture (a path, bytes, an open file, a PIL picture, an array or a tensor)"
            raise UnsupportedPicture(f"wanted {wanted}, given {type(picture).__name__}")
    return picture


def pixels_of(picture: Picture, preprocess: Callable[[Image.Image], Tensor]) -> Float[Tensor, "channels height width"]:
    """The pixels of what `check_picture` gave. A picture in memory is shown upright and on white, as a file is.

    Raises: UnreadableImage for a file; UnsupportedPicture for a picture in memory.
    """
    match picture:
        case Pixels():
            return picture.as_subclass(Tensor)
        case Image.Image():
            return preprocess(upright_rgb(picture))
        case np.ndarray() | Tensor():
            return preprocess(to_rgb(_image_of(picture)))
    opened = open_image(picture)
    try:
        return preprocess(opened)
    except ValueError as error:  # a strip too thin to resize
        raise UnreadableImage(picture, str(error)) from error


def look(
    tower: Tower, pictures: Sequence[tuple[int, Picture | None]]
) -> tuple[Float[Tensor, "batch patch width"], tuple[bytes | None, ...]]:
    """The features of each row's picture, zeros where there is none, and what tells pictures apart: the hash of their
    pixels. The tower looks at equal ones once.

    pictures: the row in which each stands, for errors, and what `check_picture` gave; one is there at least.

    Raises: UnreadableImage, UnsupportedPicture.
    """
    pixels: dict[bytes, Tensor] = {}
    images: list[bytes | None] = []
    for row, picture in pictures:
        if picture is None:
            images.append(None)
            continue
        with in_row(row):
            own = pixels_of(picture, tower.preprocess)
        images.append(hashlib.sha256(own.cpu().contiguous().numpy().tobytes()).digest())
        pixels.setdefault(images[-1], own)
    seen = tower(torch.stack(list(pixels.values())))  # [image, patch, width]
    seen = torch.cat([seen, torch.zeros_like(seen[:1])])
    places = {image: place for place, image in enumerate([*pixels, None])}
    return seen[[places[image] for image in images]], tuple(images)


def upright_rgb(picture: Image.Image) -> Image.Image:
    """Turned as its EXIF says, laid on white where it is transparent. Raises: UnsupportedPicture."""
    _check_in_memory(picture)
    try:
        picture.load()
        with contextlib.suppress(Exception):  # a broken EXIF block spoils the hint, not the picture
            picture = ImageOps.exif_transpose(picture)
        return to_rgb(picture)
    except Exception as error:  # a damaged file that was opened and not yet read can raise anything at all
        given = f"one that breaks while decoding ({error or type(error).__name__})"
        raise UnsupportedPicture(f"wanted a whole picture, given {given}") from error


@contextlib.contextmanager
def in_row(place: int) -> Iterator[None]:
    """Errors of a picture within it say in which row it stands."""
    try:
        yield
    except UnreadableImage as error:
        raise UnreadableImage(error.path, error.reason, place) from error
    except UnsupportedPicture as error:
        raise UnsupportedPicture(f"row {place}: {error}") from error


def _check_in_memory(picture: Image.Image) -> None:
    if picture.mode not in _EIGHT_BITS:
        raise UnsupportedPicture(
            f"wanted a picture of 8 bits a channel, given mode {picture.mode!r}: give its file instead, whose "
            "reading scales 16 bits to 8"
        )
    if not 0 < picture.width * picture.height <= MAX_PIXELS:  # it may be open and not yet decoded
        given = f"{picture.width} x {picture.height}"
        raise UnsupportedPicture(f"wanted a picture of 1 to {MAX_PIXELS:,} pixels, given {given}")


def _content(file: Readable) -> bytes:
    if isinstance(file, io.TextIOBase):
        raise UnsupportedPicture(f"wanted a file opened in binary mode ('rb'), given {type(file).__name__}")
    try:
        with contextlib.suppress(AttributeError, io.UnsupportedOperation):  # a stream, which stands at its start
            file.seek(0)
        data = file.read()
    except (OSError, ValueError) as error:
        raise UnsupportedPicture(f"wanted an open file, given {type(file).__name__}: {error}") from error
    if not isinstance(data, bytes):
        raise UnsupportedPicture(f"wanted a file of bytes, given {type(file).__name__} of {type(data).__name__}")
    return data


def _channels_first(array: np.ndarray | Tensor) -> bool:
    """Raises: UnsupportedPicture for a shape that is no picture's, or may be read in two ways."""
    shape = list(array.shape)
    first, last = (len(shape) == 3 and shape[place] in _CHANNELS for place in (0, -1))
    given = f"{type(array).__name__} of shape {shape}"
    if 0 in shape or not (len(shape) == 2 or first or last):
        hint = ": give a list of its pictures" if len(shape) == 4 else ""
        raise UnsupportedPicture(
            f"wanted a picture of shape [height, width], [height, width, 3] or [3, height, width], given {given}{hint}"
        )
    if first and last and isinstance(array, Tensor):
        raise UnsupportedPicture(f"wanted a tensor with channels on one side, given {given}: give a numpy array in HWC")
    return first and not last


def _check_array(array: np.ndarray | Tensor) -> None:
    _channels_first(array)
    dtype = str(array.dtype).removeprefix("torch.")
    if dtype == "uint8":
        return
    given = f"{type(array).__name__} of {dtype}"
    is_float = array.is_floating_point() if isinstance(array, Tensor) else np.issubdtype(array.dtype, np.floating)
    if not is_float:
        raise UnsupportedPicture(f"wanted a picture of uint8 or of floats from 0 to 1, given {given}")
    array = array.detach() if isinstance(array, Tensor) else array
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):  # nor NaN
        raise UnsupportedPicture(f"wanted floats from 0 to 1 (or uint8), given {given} from {low:g} to {high:g}")


def _image_of(array: np.ndarray | Tensor) -> Image.Image:
    first = _channels_first(array)
    if isinstance(array, Tensor):
        array = array.detach().cpu()
        array = (array if array.dtype == torch.uint8 else array.float()).numpy()
    array = np.moveaxis(array, 0, -1) if first else array
    array = array if array.dtype == np.uint8 else np.rint(255 * array.astype(np.float32)).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(array[..., 0] if array.shape[2:] == (1,) else array))
