import pickle
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dept_vl.untrusted.images import UnreadableImage, check_image, open_image
from tests.fuzz.bounds import forget_peak, peak

SHARED = Path(__file__).resolve().parents[3] / "shared" / "realdata"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="skipped: no ../shared")


@pytest.fixture
def picture():
    """Smooth, unlike its mirror images, and of two different sides."""
    rows, columns = np.mgrid[0:32, 0:48]
    return Image.fromarray(np.stack([rows * 8, columns * 5, (rows + columns) * 3], axis=-1).astype(np.uint8))


def close(image, wanted, tolerance):
    assert (image.mode, image.size) == ("RGB", wanted.size)
    assert np.abs(np.asarray(image, int) - np.asarray(wanted, int)).mean() < tolerance


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_exif_orientation_gives_the_picture_a_person_sees(tmp_path, picture, orientation, suffix):
    stored_as = {
        1: [],
        2: ["FLIP_LEFT_RIGHT"],
        3: ["ROTATE_180"],
        4: ["FLIP_TOP_BOTTOM"],
        5: ["TRANSPOSE"],
        6: ["ROTATE_90"],
        7: ["TRANSVERSE"],
        8: ["ROTATE_270"],
    }
    stored = picture
    for step in stored_as[orientation]:
        stored = stored.transpose(Image.Transpose[step])
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{suffix}"
    stored.save(path, exif=exif)
    close(open_image(path), picture, 6)


def test_broken_exif_leaves_the_picture(tmp_path, picture):
    path = tmp_path / "x.jpg"
    picture.save(path, exif=b"Exif\0\0XX\0\x2abroken")
    close(open_image(path), picture, 6)


@pytest.mark.parametrize("mode, tolerance", [("CMYK", 8), ("P", 25), ("YCbCr", 8), ("RGB", 8)])
def test_colour_modes_become_rgb(tmp_path, picture, mode, tolerance):
    path = tmp_path / ("x.png" if mode == "P" else "x.jpg")
    picture.convert(mode).save(path)
    close(open_image(path), picture, tolerance)


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_grey_modes_become_rgb(tmp_path, picture, mode):
    path = tmp_path / "x.png"
    picture.convert(mode).save(path)
    close(open_image(path), picture.convert(mode).convert("RGB"), 1)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path, suffix):
    path = tmp_path / f"deep.{suffix}"
    Image.fromarray(np.array([[0, 257, 32896, 65535]], dtype=np.uint16)).save(path)
    assert np.asarray(open_image(path))[0].tolist() == [[v] * 3 for v in (0, 1, 128, 255)]


def test_transparent_parts_are_laid_on_white(tmp_path):
    path = tmp_path / "x.png"
    Image.fromarray(np.array([[[255, 0, 0, 255], [255, 0, 0, 0]]], dtype=np.uint8)).save(path)
    assert np.asarray(open_image(path)).tolist() == [[[255, 0, 0], [255, 255, 255]]]


def test_transparent_palette_is_laid_on_white(tmp_path):
    path = tmp_path / "x.png"
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), mode=None).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(path, transparency=b"\xff\x00")
    assert np.asarray(open_image(path)).tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_one_pixel_is_a_picture(tmp_path):
    path = tmp_path / "x.gif"
    Image.new("P", (1, 1), 0).save(path)
    assert open_image(path).size == (1, 1)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "bmp"])
def test_a_file_cut_anywhere_is_refused_or_gives_the_whole_picture(tmp_path, picture, suffix):
    path = tmp_path / f"x.{suffix}"
    picture.save(path)
    whole, wanted = path.read_bytes(), np.asarray(open_image(path))
    refused = 0
    for length in np.linspace(1, len(whole) - 1, 60).astype(int):
        path.write_bytes(whole[:length])
        try:
            assert np.array_equal(np.asarray(open_image(path)), wanted)
        except UnreadableImage as error:
            assert str(path) in str(error) and "wanted" in str(error) and "given" in str(error)
            refused += 1
    assert refused >= 45


def test_a_truncated_jpeg_says_what_is_wrong(tmp_path, picture):
    path = tmp_path / "cut.jpg"
    picture.resize((480, 320)).save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UnreadableImage) as caught:
        open_image(path)
    message = str(caught.value)
    assert message.startswith(f"cannot read the image {path}: wanted a whole image, given one that breaks")
    assert "truncated" in message


@pytest.mark.parametrize(
    "content, given",
    [
        (b"<html>not found</html>", "given a file that starts with b'<html>no'"),
        (b"", "given an empty file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "given a file that starts with b'%!PS-Ado'"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path, content, given):
    path = tmp_path / "page.jpg"
    path.write_bytes(content)
    with pytest.raises(UnreadableImage) as caught:
        open_image(path)
    assert str(caught.value).startswith(f"cannot read the image {path}: wanted one of JPEG, ")
    assert given in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(UnreadableImage, match="none.jpg: wanted an image file, given a path where there is none"):
        open_image(tmp_path / "none.jpg")
    with pytest.raises(UnreadableImage, match="directory"):
        open_image(tmp_path)


def png_header(width, height):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("width, height", [(10_001, 10_000), (100_000, 100_000)])
def test_a_decompression_bomb_is_refused_before_decoding(tmp_path, monkeypatch, width, height):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(width, height))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda image: pytest.fail("decoded"))
    with pytest.raises(UnreadableImage, match=r"bomb\.png: wanted at most 100,000,000 pixels, given ") as caught:
        open_image(path)
    assert f"{width * height:,}" in str(caught.value) or str(width * height) in str(caught.value)


def test_the_bytes_of_a_file_are_read_as_the_file_is(tmp_path, picture):
    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(path, exif=exif)
    assert np.array_equal(np.asarray(open_image(path.read_bytes())), np.asarray(open_image(path)))


def test_bytes_are_no_way_around_the_bounds(monkeypatch, picture, tmp_path):
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda image: pytest.fail("decoded"))
    bomb = png_header(10_001, 10_000)
    for read in (open_image, check_image):
        with pytest.raises(UnreadableImage, match=rf"image of {len(bomb):,} bytes: wanted at most 100,000,000 pixels"):
            read(bomb)
        with pytest.raises(UnreadableImage, match="image of 5 bytes: wanted one of JPEG, .*starts with b'hello'"):
            read(b"hello")
        with pytest.raises(UnreadableImage, match="image of 0 bytes: wanted one of JPEG, .*given an empty file"):
            read(b"")


def test_the_pixel_limit_is_inclusive(tmp_path, picture):
    path = tmp_path / "x.png"
    picture.save(path)
    assert open_image(path, max_pixels=32 * 48).size == (48, 32)
    with pytest.raises(UnreadableImage, match=r"wanted at most 1,535 pixels, given 48 x 32 = 1,536"):
        open_image(path, max_pixels=32 * 48 - 1)


def test_the_error_survives_pickling():
    error = pickle.loads(pickle.dumps(UnreadableImage("a.jpg", "wanted this, given that")))
    assert str(error) == "cannot read the image a.jpg: wanted this, given that" and error.path == Path("a.jpg")
    error = pickle.loads(pickle.dumps(UnreadableImage("a.jpg", "wanted this", 3)))
    assert str(error) == "row 3: cannot read the image a.jpg: wanted this"


@needs_shared
def test_real_pictures_open(tmp_path):
    paths = sorted((SHARED / "images_misc").rglob("*.[pj][np]g")) + sorted((SHARED / "coco_open/images").iterdir())[:20]
    assert len(paths) > 20
    assert all(open_image(path).mode == "RGB" for path in paths)


def test_a_jpeg_of_endless_scans_is_refused_before_decoding(tmp_path, monkeypatch):
    path = tmp_path / "scans.jpg"
    Image.new("L", (3000, 3000)).save(path, progressive=True)
    data = path.read_bytes()
    assert open_image(path).size == (3000, 3000)
    last = data[data.rindex(b"\xff\xda") : -2]
    path.write_bytes(data[:-2] + last * 300 + data[-2:])  # which take no byte more than this, and a pass each
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda image: pytest.fail("decoded"))
    for source in (path, path.read_bytes()):
        with pytest.raises(UnreadableImage, match="wanted at most 222 scans of so large a JPEG, given 306"):
            open_image(source)


@pytest.mark.parametrize(
    ("mode", "suffix", "options"),
    [("RGBA", "png", {}), ("LA", "png", {}), ("P", "gif", {"transparency": 3}), ("I;16", "png", {})],
)
def test_a_tall_picture_is_converted_in_bands_without_a_seam(tmp_path, monkeypatch, mode, suffix, options):
    values = np.random.default_rng(0).integers(0, 256, (600, 5, 4), dtype=np.uint8)
    image = Image.fromarray(values)
    if mode == "I;16":
        image = Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    elif mode != "RGBA":
        image = image.convert("RGB").quantize(50) if mode == "P" else image.convert("LA")
    image.save(tmp_path / f"tall.{suffix}", **options)
    banded = np.asarray(open_image(tmp_path / f"tall.{suffix}"))
    monkeypatch.setattr("dept_vl.untrusted.images._BAND", 10_000)
    assert np.array_equal(banded, np.asarray(open_image(tmp_path / f"tall.{suffix}")))


@pytest.mark.parametrize("mode", ["P", "LA", "RGBA", "I;16"])
def test_decoding_takes_at_most_eight_bytes_a_pixel(tmp_path, mode):
    path = tmp_path / "large.png"
    Image.new(mode, (5000, 4000)).save(path, **({"transparency": 0} if mode == "P" else {}))
    open_image(path, max_pixels=20_000_000)  # what the process grows by once
    forget_peak()
    before = peak()
    open_image(path)
    assert peak() - before < 8 * 20_000_000 / 2**20 + 16


def test_the_scans_of_a_picture_with_others_behind_it_are_counted_too(tmp_path, monkeypatch):
    """PIL calls a JPEG with a block of Multi-Picture Format MPO, though it was asked for JPEG."""
    path = tmp_path / "several.jpg"
    small = Image.new("L", (8, 8))
    Image.new("L", (3000, 3000)).save(path, format="MPO", progressive=True, save_all=True, append_images=[small])
    with Image.open(path, formats=("JPEG",)) as image:
        assert image.format == "MPO"
    assert open_image(path).size == (3000, 3000)
    data = path.read_bytes()
    end = data.index(b"\xff\xd9")  # of the first picture
    last = data[data.rindex(b"\xff\xda", 0, end) : end]
    path.write_bytes(data[:end] + last * 300 + data[end:])
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda image: pytest.fail("decoded"))
    with pytest.raises(UnreadableImage, match="wanted at most 222 scans of so large a JPEG, given 3"):
        open_image(path)


def test_decoding_on_several_threads_leaves_the_filters_of_warnings_alone(tmp_path, picture):
    picture.save(tmp_path / "x.jpg")
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: open_image(tmp_path / "x.jpg"), range(400)))
    assert warnings.filters == before
