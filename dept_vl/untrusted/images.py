"""Open untrusted images as a person sees them: RGB, upright, whole; refuse others by name."""

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from dept_vl.untrusted.lfs_pointers import as_pointer

MAX_PIXELS = 100_000_000
MAX_SCANNED = 2_000_000_000  # pixels x scans of a JPEG, a second: encoders write 10 scans, and one need cost no byte
_BAND = 64  # rows that are converted at a time, so that a picture's copies are never all in memory

# Raster formats only: PIL also offers formats that start other programs (EPS runs Ghostscript).
_PHONES = {  # what phones and cameras store, by the brand behind `ftyp`
    "HEIC": (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"),
    "AVIF": (b"avif", b"avis"),
}

# PIL warns of odd metadata, and of sizes that are judged here. Once for the process: `catch_warnings` is of all
# threads, and pictures are decoded on several.
warnings.filterwarnings("ignore", module=r"PIL\b")

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")


class UnreadableImage(ValueError):
    """A file, or a file's bytes, that gives no whole picture. `path` names it, `reason` says what was wanted and given.
    row: its place in a list, None where there is none."""

    def __init__(self, path: Path | str | bytes, reason: str, row: int | None = None) -> None:
        name = f"of {len(path):,} bytes" if isinstance(path, bytes) else str(path)
        super().__init__(name, reason, row)  # plain arguments, so that it survives pickling
        self.path, self.reason, self.row = Path(name), reason, row

    def __str__(self) -> str:
        place = "" if self.row is None else f"row {self.row}: "
        return f"{place}cannot read the image {self.path}: {self.reason}"


def open_image(source: Path | str | bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a file, or the bytes of one, to an RGB image with its EXIF orientation applied.

    Transparent parts are laid on white; 16-bit grey is scaled to 8 bits; of an animation the first
    frame is taken. `max_pixels` (width x height) is checked on the header, before any pixel is decoded; decoding takes
    at most 8 bytes a pixel.

    Raises:
        UnreadableImage: no such file, no image, a truncated one, one of more than `max_pixels` or MAX_SCANNED.
    """
    with _opened(source, max_pixels) as image:
        _check_scans(source, image)
        image.load()
        with contextlib.suppress(Exception):  # a broken EXIF block spoils the hint, not the picture
            ImageOps.exif_transpose(image, in_place=True)
        return to_rgb(image)


def check_image(source: Path | str | bytes, max_pixels: int = MAX_PIXELS) -> None:
    """Read the header alone. Raises: UnreadableImage, for what it tells."""
    with _opened(source, max_pixels):
        pass


@contextlib.contextmanager
def _opened(source: Path | str | bytes, max_pixels: int) -> Iterator[Image.Image]:
    """Raises: UnreadableImage, also for what PIL raises within it."""
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            _check_size(source, image, max_pixels)
            yield image
    except UnreadableImage:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImage(source, f"wanted one of {', '.join(FORMATS)}, given {_opening(source)}") from error
    except Image.DecompressionBombError as error:
        raise UnreadableImage(source, f"wanted at most {max_pixels:,} pixels, given more: {error}") from error
    except FileNotFoundError as error:
        raise UnreadableImage(source, "wanted an image file, given a path where there is none") from error
    except Exception as error:  # a damaged file can raise anything at all from PIL's decoders
        given = f"one that breaks while decoding ({error or type(error).__name__})"
        raise UnreadableImage(source, f"wanted a whole image, given {given}") from error


def _check_size(source: Path | str | bytes, image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        given = f"{width} x {height} = {width * height:,}"
        raise UnreadableImage(source, f"wanted at most {max_pixels:,} pixels, given {given} (from its header)")


def _check_scans(source: Path | str | bytes, image: Image.Image) -> None:
    if image.format in ("JPEG", "MPO"):  # the latter has several pictures, the first of which is taken
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        scans = data.count(b"\xff\xda")
        most = max(1, MAX_SCANNED // (image.width * image.height))
        if scans > most:
            raise UnreadableImage(source, f"wanted at most {most:,} scans of so large a JPEG, given {scans:,}")


def to_rgb(image: Image.Image) -> Image.Image:
    """Laid on white where it is transparent; 16-bit grey scaled to 8 bits. Raises: ValueError."""
    if image.mode == "F":
        raise ValueError("32-bit floats, wanted 8 or 16 bits a channel")
    grey = image.mode == "I" or image.mode.startswith("I;16")
    if not grey and not image.has_transparency_data:
        return image.convert("RGB")
    picture = Image.new("RGB", image.size)
    for top in range(0, image.height, _BAND):
        band = image.crop((0, top, image.width, min(top + _BAND, image.height)))
        picture.paste(_from_grey(np.asarray(band.convert("I"))) if grey else _on_white(band), (0, top))
    return picture


def _on_white(image: Image.Image) -> Image.Image:
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _from_grey(values: np.ndarray) -> Image.Image:
    """PIL's own conversion would clip 16-bit grey at 255, which shows an almost white picture."""
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"grey values from {values.min()} to {values.max()}, wanted 0 to 65535")
    return Image.fromarray(np.rint(values / 257).astype(np.uint8)).convert("RGB")


def _opening(source: Path | str | bytes) -> str:
    if not isinstance(source, bytes):
        with open(source, "rb") as file:
            source = file.read(64)
    if given := as_pointer(source[:64]):
        return given
    brand = source[8:12] if source[4:8] == b"ftyp" else None
    if name := next((name for name, brands in _PHONES.items() if brand in brands), None):
        return f"one in {name}: save it as JPEG or PNG"
    return f"a file that starts with {source[:8]!r}" if source else "an empty file"
