import io

import numpy as np
import pytest
import torch
from PIL import Image

from dept_vl.serve import UnsupportedPicture
from dept_vl.serve.pictures import Pixels, check_picture, pixels_of, upright_rgb
from dept_vl.vision import UnreadableImage, open_image
from tests.tiny_models import paint


def _to_pixels(picture):
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255


@pytest.mark.parametrize(
    ("mode", "suffix"), [("RGB", "png"), ("L", "png"), ("P", "png"), ("RGBA", "png"), ("LA", "png"), ("CMYK", "jpg")]
)
def test_a_picture_in_memory_is_what_its_file_is(mode, suffix, tmp_path):
    picture = paint(1).convert(mode)
    if mode in ("RGBA", "LA"):
        picture.putalpha(100)
    picture.save(file := tmp_path / f"picture.{suffix}")
    with Image.open(file) as opened:
        assert torch.equal(pixels_of(opened, _to_pixels), pixels_of(file, _to_pixels))


def test_a_turned_picture_is_shown_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    paint(2).save(file := tmp_path / "turned.png", exif=exif)
    with Image.open(file) as opened:
        assert upright_rgb(opened).size == (40, 48) == open_image(file).size


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_more_than_8_bits_are_refused(mode):
    with pytest.raises(UnsupportedPicture, match=f"wanted a picture of 8 bits a channel, given mode '{mode}'"):
        pixels_of(Image.new(mode, (4, 4)), _to_pixels)


def test_pixels_are_taken_as_they_are():
    pixels = _to_pixels(paint(3)) - 7
    found = pixels_of(check_picture(pixels.as_subclass(Pixels)), _to_pixels)
    assert torch.equal(found, pixels) and type(found) is torch.Tensor


def _held(picture):
    """The picture in every form that a caller may have it in."""
    picture.save(file := io.BytesIO(), format="PNG")  # which stands at its end
    array = np.array(picture)
    channels = array if array.ndim == 3 else array[..., None]
    first = torch.from_numpy(channels).permute(2, 0, 1)
    fractions = array.astype(np.float64) / 255
    return {
        "bytes": file.getvalue(), "bytearray": bytearray(file.getvalue()), "memoryview": file.getbuffer(),
        "an open file": file, "a stream": io.BufferedReader(_Stream(file.getvalue())), "PIL": picture,
        "HxWxC": channels, "HxW or HxWxC": array, "CxHxW": np.moveaxis(channels, -1, 0),
        "floats": fractions, "float32": fractions.astype(np.float32), "upside down and back": array[::-1][::-1],
        "a tensor": first, "a tensor of floats": first / 255, "a tensor, channels last": first.permute(1, 2, 0),
        "a half": (first / 255).half(), "with a gradient": (first / 255).requires_grad_(),
    }  # fmt: skip


class _Stream(io.RawIOBase):
    """Bytes that come once, as from a socket."""

    def __init__(self, data):
        self._left = io.BytesIO(data)

    def readable(self):
        return True

    def readinto(self, into):
        return self._left.readinto(into)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_one_picture_has_the_same_pixels_in_every_form(mode):
    picture = paint(1).convert(mode)
    if mode == "RGBA":
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    wanted = _to_pixels(upright_rgb(picture))
    for form, each in _held(picture).items():
        assert torch.equal(pixels_of(check_picture(each), _to_pixels), wanted), form


def test_no_picture_in_memory_is_written_to():
    picture = paint(1)
    for form, each in _held(picture).items():
        before = each.copy() if isinstance(each, np.ndarray) else each.clone() if torch.is_tensor(each) else None
        pixels_of(check_picture(each), _to_pixels)
        assert before is None or bool((before == each).all()), form


REFUSED = {
    "None": (lambda: None, r"wanted a picture \(a path, bytes, .*\), given NoneType"),
    "a number": (lambda: 3, "given int"),
    "a list": (lambda: [1, 2], "given list"),
    "text": (lambda: io.StringIO("x"), r"wanted a file opened in binary mode \('rb'\), given StringIO"),
    "a closed file": (lambda: (file := io.BytesIO(b"x"), file.close())[0], "wanted an open file, given BytesIO: I/O"),
    "whole numbers": (lambda: np.zeros((4, 4, 3), int), "wanted a picture of uint8 or of floats from 0 to 1, .* int64"),
    "complex": (lambda: torch.zeros(3, 9, 9, dtype=torch.complex64), "given Tensor of complex64"),
    "floats to 255": (lambda: np.full((4, 4), 255.0), r"wanted floats from 0 to 1 .*float64 from 255 to 255"),
    "pixels by hand": (lambda: torch.full((3, 9, 9), -1.0), "wanted floats from 0 to 1 .*float32 from -1 to -1"),
    "not a number": (lambda: torch.full((3, 9, 9), torch.nan), "wanted floats from 0 to 1 .* from nan to nan"),
    "a batch": (lambda: np.zeros((2, 4, 4, 3), np.uint8), r"given ndarray of shape \[2, 4, 4, 3\]: give a list"),
    "a row": (lambda: np.zeros(4, np.uint8), r"wanted a picture of shape \[height, width\], .*given ndarray of shape"),
    "five channels": (lambda: torch.zeros(5, 4, 5), r"given Tensor of shape \[5, 4, 5\]"),
    "nothing in it": (lambda: np.zeros((0, 4, 3), np.uint8), r"shape \[0, 4, 3\]"),
    "two readings": (lambda: torch.zeros(3, 9, 3), "wanted a tensor with channels on one side"),
    "16 bits": (lambda: Image.new("I;16", (4, 4)), "wanted a picture of 8 bits a channel"),
    "no pixel": (lambda: Image.new("RGB", (0, 4)), "wanted a picture of 1 to 100,000,000 pixels, given 0 x 4"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_picture_is_refused_before_it_is_read(case):
    make, message = REFUSED[case]
    with pytest.raises(UnsupportedPicture, match=message):
        check_picture(make())


def test_a_picture_that_is_open_and_cut_is_one_sentence(tmp_path):
    paint(0).resize((200, 200)).save(file := tmp_path / "cut.jpg")
    file.write_bytes(file.read_bytes()[:-300])
    with Image.open(file) as opened, pytest.raises(UnsupportedPicture, match="wanted a whole picture, given one that"):
        pixels_of(check_picture(opened), _to_pixels)


def test_a_file_is_looked_at_before_any_is_decoded(tmp_path, monkeypatch):
    (tmp_path / "note.txt").write_text("hello")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda image: pytest.fail("decoded"))
    for picture in (tmp_path / "note.txt", str(tmp_path / "note.txt"), b"hello", io.BytesIO(b"hello")):
        with pytest.raises(UnreadableImage, match="starts with b'hello'"):
            check_picture(picture)


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "note.txt").write_text("hello")
    with pytest.raises(UnreadableImage, match="note.txt"):
        pixels_of(tmp_path / "note.txt", _to_pixels)


def test_a_file_that_cannot_be_preprocessed_is_named(tmp_path):
    paint(0).save(tmp_path / "strip.png")

    def refuse(picture):
        raise ValueError("too thin")

    with pytest.raises(UnreadableImage, match="strip.png: too thin"):
        pixels_of(tmp_path / "strip.png", refuse)
