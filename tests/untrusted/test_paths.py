import os

import pytest

from dept_vl.untrusted.bad_file import BadFile
from dept_vl.untrusted.paths import check_file_name, check_folder, folder_below, read_below


@pytest.mark.parametrize("name", ["../x.jpg", "/etc/x.jpg", "a/x.jpg", "..", ".", "", "a\\x.jpg", "x\0.jpg"])
def test_a_name_with_a_folder_is_refused(name):
    with pytest.raises(BadFile, match="f.json: wanted a bare image file name, without a folder, given"):
        check_file_name("f.json", name)


@pytest.mark.parametrize("folder", ["..", "a/../../b", "/etc", "C:/x", "a\\..\\b"])
def test_a_folder_outside_the_root_is_refused(folder):
    with pytest.raises(BadFile, match="f.json: wanted an image folder inside the data root, given"):
        check_folder("f.json", folder)


def test_ordinary_names_and_folders_pass():
    assert check_file_name("f", "COCO_val2014_000000000285.jpg") == "COCO_val2014_000000000285.jpg"
    assert check_file_name("f", "a..b.jpg") == "a..b.jpg"
    assert [check_folder("f", folder) for folder in ("", "val2014", "a/b")] == ["", "val2014", "a/b"]


def test_a_folder_with_an_endless_name_is_refused():
    with pytest.raises(BadFile, match="wanted an image folder inside the data root"):
        check_folder("f.json", "x" * 256)


@pytest.fixture
def root(tmp_path):
    """Two files below it, one beside it, and links to all of them."""
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    (root / "a").write_bytes(b"one")
    (root / "inner" / "b").write_bytes(b"two")
    (tmp_path / "secret").write_bytes(b"three")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "up").symlink_to(tmp_path)
    (root / "near").symlink_to("a")
    os.mkfifo(root / "pipe")
    return root


def test_a_file_below_the_root_is_read(root):
    assert read_below(root, "a", 3) == read_below(root, "./a", 3) == b"one"
    assert read_below(root, "inner/b", 100) == b"two"


OUTSIDE = ["", ".", "..", "../secret", "inner/../../secret", "/etc/passwd", "link", "up/secret", "C:/a"]


@pytest.mark.parametrize("name", [*OUTSIDE, "near", "pipe", "inner", "none", "inner/none", "a/b", "a\0", "x" * 5000])
def test_nothing_else_is(root, name):
    with pytest.raises(BadFile) as refused:
        read_below(root, name, 100)
    assert str(root) not in str(refused.value).replace(name or "\0", "")


def test_a_file_that_is_too_large_is_not_read(root):
    with pytest.raises(BadFile, match="a: wanted a file of at most 2 bytes, given 3"):
        read_below(root, "a", 2)


def test_no_descriptor_stays_open(root):
    before = len(os.listdir("/proc/self/fd"))
    for name in ("a", "inner/b", "inner/none", "link", "pipe", "inner"):
        try:
            read_below(root, name, 2)
        except BadFile:
            pass
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_folder_below_the_root_is_found_unless_a_file_of_it_leads_out(root):
    (root / "inner" / "near").symlink_to(root / "a")
    assert folder_below(root, "inner", 6) == (root / "inner").resolve()
    with pytest.raises(BadFile, match="inner: wanted a folder of at most 5 bytes, given 6"):
        folder_below(root, "inner", 5)
    for name in ("..", "/etc", "up", "none", "a", "inner/../.."):
        with pytest.raises(BadFile, match="wanted"):
            folder_below(root, name, 100)
    (root / "inner" / "out").symlink_to(root.parent / "secret")
    with pytest.raises(BadFile, match="inner: wanted a folder whose files lie below the root"):
        folder_below(root, "inner", 100)
