import gzip
import tracemalloc

import pytest

from dept_vl.untrusted.bad_file import BadFile
from dept_vl.untrusted.gzip_bytes import ALWAYS, RATIO, fair_size, read_bytes


@pytest.fixture
def file(tmp_path):
    """A function that writes bytes to a file and returns its path."""
    path = tmp_path / "file.json.gz"
    return lambda data: path.write_bytes(data) and path


@pytest.mark.parametrize("content", [b"", b"a", b"text " * 10_000, bytes(ALWAYS)], ids=["none", "one", "text", "zeros"])
def test_what_was_packed_comes_back(file, content):
    assert read_bytes(file(gzip.compress(content))) == content


def test_members_behind_each_other_are_one_content(file):
    assert read_bytes(file(gzip.compress(b"a") + gzip.compress(b"b"))) == b"ab"


def test_a_file_that_is_not_packed_comes_without_its_byte_order_mark(file):
    assert read_bytes(file(b"\xef\xbb\xbfno gzip")) == b"no gzip"


def test_a_large_file_may_unpack_to_a_multiple_of_its_size():
    assert fair_size(10) == ALWAYS and fair_size(ALWAYS) == RATIO * ALWAYS


@pytest.mark.parametrize("times", [1, 5])
def test_a_bomb_is_refused_by_its_name_before_it_is_in_memory(file, times):
    packed = gzip.compress(bytes(16 * ALWAYS)) * times
    limit, path = fair_size(len(packed)), file(packed)
    tracemalloc.start()
    with pytest.raises(BadFile, match=f"file.json.gz: wanted .* given one that unpacks to more than {limit:,} bytes"):
        read_bytes(path)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < 4 * limit < 16 * ALWAYS * times


@pytest.mark.parametrize("cut", [5, -9], ids=["in the header", "in the content"])
def test_a_broken_file_is_one_error(file, cut):
    with pytest.raises(BadFile, match="a cut or broken one"):
        read_bytes(file(gzip.compress(b"text" * 9)[:cut]))
