"""Unpack untrusted gzip within a bound; one error. The bound holds for parquet too."""

import gzip
import io
import zlib

RATIO = 100  # our generated annotations, the most alike that we know, come to 40; zeros come to 1,030
ALWAYS = 8 * 2**20  # bytes that any file may unpack to


class BadGzip(ValueError):
    """Bytes that are no whole gzip file of a fair size; its message goes behind "given"."""


def fair_size(packed: int) -> int:
    """The most bytes that a file of `packed` bytes may unpack to."""
    return max(ALWAYS, RATIO * packed)


def unpack(data: bytes) -> bytes:
    """The content. Raises: BadGzip, also for more than is fair, before that is in memory."""
    limit = fair_size(len(data))
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            content = file.read(limit + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadGzip(f"a cut or broken one ({error})") from error
    if len(content) > limit:
        raise BadGzip(f"one that unpacks to more than {limit:,} bytes, {len(data):,} packed: unpack it yourself")
    return content
