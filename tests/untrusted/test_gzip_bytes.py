import gzip
import tracemalloc

import pytest

from dept_vl.untrusted.bad_file import BadFile
from dept_vl.untrusted.gzip_bytes import ALWAYS, RATIO, BadGzip, fair_size, unpack
from dept_vl.untrusted.json_files import read_bytes


@pytest.mark.parametrize("content", [b"", b"a", b"text " * 10_000, bytes(ALWAYS)], ids=["none", "one", "text", "zeros"])
def test_what_was_packed_comes_back(content):
    assert unpack(gzip.compress(content)) == content


def test_members_behind_each_other_are_one_content():
    assert unpack(gzip.compress(b"a") + gzip.compress(b"b")) == b"ab"


def test_a_large_file_may_unpack_to_a_multiple_of_its_size():
    assert fair_size(10) == ALWAYS and fair_size(ALWAYS) == RATIO * ALWAYS


@pytest.mark.parametrize("times", [1, 5])
def test_a_bomb_is_refused_before_it_is_in_memory(times):
    packed = gzip.compress(bytes(16 * ALWAYS)) * times
    limit = fair_size(len(packed))
    tracemalloc.start()
    with pytest.raises(BadGzip, match=f"one that unpacks to more than {limit:,} bytes"):
        unpack(packed)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < 4 * limit < 16 * ALWAYS * times


@pytest.mark.parametrize("cut", [5, -9], ids=["in the header", "in the content"])
def test_a_broken_file_is_one_error(cut):
    for data in (b"no gzip", gzip.compress(b"text" * 9)[:cut]):
        with pytest.raises(BadGzip, match="a cut or broken one"):
            unpack(data)


def test_a_bomb_is_refused_by_its_name(tmp_path):
    path = tmp_path / "file.json.gz"
    path.write_bytes(gzip.compress(b"[" + b" " * ALWAYS + b"]"))
    with pytest.raises(BadFile, match="file.json.gz: wanted a whole gzip file, given one that unpacks to more than"):
        read_bytes(path)
