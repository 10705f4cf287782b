import numpy as np
import pytest
import torch
from PIL import Image

from dept_vl.serve import UnsupportedPicture
from dept_vl.serve.pictures import pixels_of, upright_rgb
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
    pixels = _to_pixels(paint(3))
    assert pixels_of(pixels, _to_pixels) is pixels


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
