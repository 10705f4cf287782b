"""Read a file that may be gzipped, within a bound. The bound holds for parquet too."""

import gzip
import io
import zlib
from pathlib import Path

from dept_vl.untrusted.bad_file import BadFile
from dept_vl.untrusted.lfs_pointers import as_pointer

RATIO = 100  # our generated annotations, the most alike that we know, come to 40; zeros come to 1,030
ALWAYS = 8 * 2**20  # bytes that any file may unpack to
_GZIP = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def fair_size(packed: int) -> int:
    """The most bytes that a file of `packed` bytes may unpack to."""
    return max(ALWAYS, RATIO * packed)


def read_bytes(path: Path) -> bytes:
    """The content of a file, plain or gzipped whatever its name, without a byte order mark.

    Raises: BadFile, also for a gzip file that unpacks to more than is fair, before that is in memory.
    """
    try:
        data = path.read_bytes()
        if given := as_pointer(data):
            raise BadFile(path, "a file with its content", given)
        if data.startswith(_GZIP):
            limit = fair_size(len(data))
            content = gzip.GzipFile(fileobj=io.BytesIO(data)).read(limit + 1)
            if len(content) > limit:
                given = f"one that unpacks to more than {limit:,} bytes, {len(data):,} packed: unpack it yourself"
                raise BadFile(path, "a whole gzip file", given)
            data = content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadFile(path, "a whole gzip file", f"a cut or broken one ({error})") from error
    except OSError as error:
        raise BadFile(path, "a readable file", f"{type(error).__name__} ({error.strerror})") from error
    return data.removeprefix(_BYTE_ORDER_MARK)
