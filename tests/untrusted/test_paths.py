import pytest

from dept_vl.untrusted.bad_file import BadFile
from dept_vl.untrusted.paths import check_file_name, check_folder


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
