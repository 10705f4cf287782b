import pickle

import pytest

from dept_vl.data.data_root import (
    MissingFile,
    MissingImages,
    find_file,
    hub_hint,
    locate_images,
    matching_files,
    require_file,
)
from dept_vl.data.sources import load_vqa
from dept_vl.tasks import VqaTask
from dept_vl.untrusted.bad_file import BadFile


@pytest.mark.parametrize("place", ["images", "train2014", "val2014", "images/val2014", "a/b", "images/a/b"])
def test_images_are_found_in_every_layout(tmp_path, place):
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "x.jpg").write_bytes(b"")
    assert locate_images(tmp_path, ["x.jpg", "x.jpg"], ["a/b"]) == {"x.jpg": tmp_path / place / "x.jpg"}


def test_missing_images_are_counted_and_named(tmp_path):
    (tmp_path / "images" / "c.jpg").mkdir(parents=True)  # a folder is no image
    (tmp_path / "images" / "a.jpg").write_bytes(b"")
    message = r"wanted the files of 3 annotated images, given 2 \('b.jpg', 'c.jpg'\) not found in images$"
    with pytest.raises(MissingImages, match=message) as caught:
        locate_images(tmp_path, ["a.jpg", "b.jpg", "c.jpg"])
    assert caught.value.names == ("b.jpg", "c.jpg")
    assert pickle.loads(pickle.dumps(caught.value)).names == ("b.jpg", "c.jpg")


@pytest.mark.parametrize("folder", ["images", "train2017", "images/val2017"])
@pytest.mark.parametrize("asked", ["COCO_train2014_000000000009.jpg", "COCO_val2017_000000000009.jpg"])
def test_coco_images_are_found_under_the_names_and_in_the_folders_of_2017(tmp_path, folder, asked):
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "000000000009.jpg").write_bytes(b"")
    assert locate_images(tmp_path, [asked]) == {asked: tmp_path / folder / "000000000009.jpg"}


def test_coco_images_of_2017_are_found_under_the_names_of_2014_where_these_leave_no_doubt(tmp_path):
    (tmp_path / "images").mkdir()
    one, two = (tmp_path / "images" / f"COCO_{year}_000000000009.jpg" for year in ("train2014", "val2014"))
    two.write_bytes(b"")
    assert locate_images(tmp_path, ["000000000009.jpg"]) == {"000000000009.jpg": two}
    with pytest.raises(MissingImages, match=r"nor exactly one each under COCO's other names \(000000000009.jpg\)$"):
        locate_images(tmp_path, [one.name])  # val's is another image
    one.write_bytes(b"")
    message = r"\('0{11}9.jpg'\) not found .*, nor exactly one .* \(COCO_train2014_0{11}9.jpg, COCO_val2014_0{11}9"
    with pytest.raises(MissingImages, match=message):
        locate_images(tmp_path, ["000000000009.jpg"])


def test_the_case_from_the_field_is_found(cases):
    loaded = load_vqa(cases / "own_vqa" / "coco2017", "all", VqaTask())
    assert loaded.image_paths["COCO_train2014_000000000007.jpg"].name == "000000000007.jpg"
    assert loaded.counts["images"] == loaded.counts["images_of_another_year"] == 12


def test_a_root_without_images_says_so(tmp_path):
    with pytest.raises(MissingImages, match=r"1 \('a.jpg'\) not found in no image folder at all"):
        locate_images(tmp_path, ["a.jpg"])


def test_a_link_is_followed_as_the_owner_of_the_disk_set_it(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.jpg").write_bytes(b"")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "images").symlink_to(tmp_path / "elsewhere")
    assert locate_images(tmp_path / "root", ["a.jpg"]) == {"a.jpg": tmp_path / "root" / "images" / "a.jpg"}


@pytest.mark.parametrize("place", ["", "annotations", "vqa"])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_file_is_found_in_root_and_annotation_folders(tmp_path, place, ending):
    path = tmp_path / place / f"x.json{ending}"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")
    assert find_file(tmp_path, "x.json") == path
    assert find_file(tmp_path, "y.json") is None


def test_matching_files_are_in_order_of_name(tmp_path):
    (tmp_path / "annotations").mkdir()
    for name in ("captions_b.json.gz", "annotations/captions_a.json", "other.json"):
        (tmp_path / name).write_bytes(b"")
    names = [path.name for path in matching_files(tmp_path, "captions*.json")]
    assert names == ["captions_a.json", "captions_b.json.gz"]


def test_two_copies_of_a_file_are_refused(tmp_path):
    (tmp_path / "x.json").write_bytes(b"")
    (tmp_path / "x.json.gz").write_bytes(b"")
    with pytest.raises(BadFile, match=r"wanted one copy of x\.json, given a second one beside"):
        find_file(tmp_path, "x.json")


def test_a_missing_file_or_folder_says_where_it_belongs(tmp_path):
    with pytest.raises(MissingFile, match=r"x\.json: wanted the answers; looked for .*vqa.*data/README\.md"):
        require_file(tmp_path, "x.json", "the answers")
    with pytest.raises(MissingFile, match="nowhere: wanted a folder .* given no such folder$"):
        find_file(tmp_path / "nowhere", "x.json")


def test_a_name_of_the_hub_is_told_from_a_path_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    assert hub_hint("someone/pictures") == "; a data set of the hub is named hub:someone/pictures"
    assert [hub_hint(each) for each in ("data/vqa2", "a/b/c", "/a/b", "pictures", "./pictures")] == [""] * 5
