import pytest

from dept_vl.data.coco import read_captions
from dept_vl.data.karpathy import read_karpathy
from dept_vl.untrusted.bad_file import BadFile


def captions(root):
    return read_captions(root.write() / "captions.json")


def karpathy(root):
    return read_karpathy(root.write() / "dataset_coco.json")


def test_captions_are_gathered_by_image(root):
    rows = captions(root)
    assert [row["image_id"] for row in rows] == [1, 2, 3, 4]
    assert rows[0]["image"] == "COCO_train2014_000000000001.jpg"
    assert rows[0]["captions"] == tuple(f"Picture 1, told {k}.\n" for k in range(5))


def test_an_image_without_captions_keeps_its_row(root):
    root.documents["captions.json"]["images"].append({"id": 9, "file_name": "9.jpg"})
    assert captions(root)[-1] == {"image_id": 9, "image": "9.jpg", "captions": ()}


def test_restval_joins_train(root):
    images = karpathy(root)
    assert {i: image.split for i, image in images.items()} == {1: "train", 2: "train", 3: "val", 4: "test"}
    assert images[2].captions == tuple(f"Picture 2, told {k}.\n" for k in range(5))
    assert (images[2].file_name, images[2].filepath) == ("COCO_val2014_000000000002.jpg", "val2014")


def test_real_captions_and_karpathy_agree(real):
    images = read_karpathy(real / "coco_open" / "dataset_coco.json")
    rows = read_captions(real / "coco_open" / "captions.json")
    assert len(images) == len(rows) == 147
    assert [(row["image"], row["captions"]) for row in rows] == [
        (image.file_name, image.captions) for image in images.values()
    ]
    bear = images[285]
    assert bear.split == "val" and bear.file_name == "COCO_val2014_000000000285.jpg"
    assert bear.captions[3] == "A large bear that is sitting on grass. "


def test_all_of_val2017_reads(real):
    rows = read_captions(real / "coco_text" / "captions_val2017.json.gz")
    assert len(rows) == 5000 and sum(len(row["captions"]) for row in rows) == 25_014


def test_a_caption_without_its_image_is_refused(root):
    del root.documents["captions.json"]["images"][0]
    message = r"captions.json: wanted an image for every caption, given none for image_id 1 \(1\)"
    with pytest.raises(BadFile, match=message):
        captions(root)


@pytest.mark.parametrize(("key", "what"), [("images", "image"), ("annotations", "caption")])
def test_an_id_twice_is_refused(root, key, what):
    items = root.documents["captions.json"][key]
    items.append(items[0])
    with pytest.raises(BadFile, match=f"wanted every {what} id once, given {what} id .* again"):
        captions(root)


@pytest.mark.parametrize("name", ["../../secret.jpg", "/etc/passwd"])
def test_a_path_out_of_the_image_root_is_refused(root, name):
    root.documents["captions.json"]["images"][0]["file_name"] = name
    root.karpathy()[0]["filename"] = name
    folder = root.write()
    for read, file in ((read_captions, "captions.json"), (read_karpathy, "dataset_coco.json")):
        with pytest.raises(BadFile, match=f"{file}: wanted a bare image file name"):
            read(folder / file)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("cocoid", 2, "wanted every image once, given cocoid 2, COCO_val2014_.*2.jpg, again"),
        ("filename", "COCO_val2014_000000000002.jpg", "wanted every image once, given cocoid"),
        ("split", "Train", r"'Train' - at `\$\.images\[0\]\.split`"),
        ("filepath", "../val2014", "wanted an image folder inside the data root, given '../val2014'"),
        ("sentences", [{"tokens": ["a"]}], r"`raw` - at `\$\.images\[0\]\.sentences\[0\]`"),
        ("sentences", None, r"`array`, got `null` - at `\$\.images\[0\]\.sentences`"),
    ],
)
def test_a_broken_image_of_karpathys_file_is_refused(root, key, value, message):
    root.karpathy()[0][key] = value
    with pytest.raises(BadFile, match=message):
        karpathy(root)


def test_karpathys_file_of_another_set_is_refused(root):
    del root.karpathy()[0]["cocoid"]  # as in dataset_flickr30k.json
    with pytest.raises(BadFile, match=r"`cocoid` - at `\$\.images\[0\]`"):
        karpathy(root)
