import pickle

import pytest

from dept_vl.data.annotation_files import BadAnnotation
from dept_vl.data.image_files import MissingImages, check_file_name, check_folder, locate_images


@pytest.mark.parametrize("name", ["../x.jpg", "/etc/x.jpg", "a/x.jpg", "..", ".", "", "a\\x.jpg", "x\0.jpg"])
def test_a_name_with_a_folder_is_refused(name):
    with pytest.raises(BadAnnotation, match="f.json: wanted a bare image file name, without a folder, given"):
        check_file_name("f.json", name)


@pytest.mark.parametrize("folder", ["..", "a/../../b", "/etc", "C:/x", "a\\..\\b"])
def test_a_folder_outside_the_root_is_refused(folder):
    with pytest.raises(BadAnnotation, match="f.json: wanted an image folder inside the data root, given"):
        check_folder("f.json", folder)


def test_ordinary_names_and_folders_pass():
    assert check_file_name("f", "COCO_val2014_000000000285.jpg") == "COCO_val2014_000000000285.jpg"
    assert check_file_name("f", "a..b.jpg") == "a..b.jpg"
    assert [check_folder("f", folder) for folder in ("", "val2014", "a/b")] == ["", "val2014", "a/b"]


@pytest.mark.parametrize("place", ["images", "train2014", "val2014", "images/val2014", "a/b", "images/a/b"])
def test_images_are_found_in_every_layout(tmp_path, place):
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "x.jpg").write_bytes(b"")
    assert locate_images(tmp_path, ["x.jpg", "x.jpg"], ["a/b"]) == {"x.jpg": tmp_path / place / "x.jpg"}


def test_missing_images_are_counted_and_named(tmp_path):
    (tmp_path / "images" / "c.jpg").mkdir(parents=True)  # a folder is no image
    (tmp_path / "images" / "a.jpg").write_bytes(b"")
    message = r"wanted the files of 3 annotated images, given 2 \(b.jpg, c.jpg\) not found in images$"
    with pytest.raises(MissingImages, match=message) as caught:
        locate_images(tmp_path, ["a.jpg", "b.jpg", "c.jpg"])
    assert caught.value.names == ("b.jpg", "c.jpg")
    assert pickle.loads(pickle.dumps(caught.value)).names == ("b.jpg", "c.jpg")


def test_a_root_without_images_says_so(tmp_path):
    with pytest.raises(MissingImages, match=r"1 \(a.jpg\) not found in no image folder at all"):
        locate_images(tmp_path, ["a.jpg"])


def test_a_folder_with_an_endless_name_is_refused():
    with pytest.raises(BadAnnotation, match="wanted an image folder inside the data root"):
        check_folder("f.json", "x" * 256)


def test_a_link_is_followed_as_the_owner_of_the_disk_set_it(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.jpg").write_bytes(b"")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "images").symlink_to(tmp_path / "elsewhere")
    assert locate_images(tmp_path / "root", ["a.jpg"]) == {"a.jpg": tmp_path / "root" / "images" / "a.jpg"}
