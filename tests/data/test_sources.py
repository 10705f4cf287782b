import gzip
import json
import shutil

import pytest

from dept_vl.data.data_root import MissingFile, MissingImages
from dept_vl.data.sources import (
    EmptySplit,
    load_aokvqa,
    load_caption,
    load_caption_splits,
    load_vqa,
    load_vqa_splits,
)
from dept_vl.embedded.shapes.files import write_shapes
from dept_vl.tasks import CaptionTask, VqaTask
from dept_vl.untrusted import json_files
from dept_vl.untrusted.bad_file import BadFile

QUESTIONS, ANNOTATIONS = "v2_OpenEnded_mscoco_{}_questions.json", "v2_mscoco_{}_annotations.json"


def ids(loaded):
    return [example.id for example in loaded.examples]


@pytest.mark.parametrize(("split", "images"), [("train", [1, 2]), ("val", [3]), ("test", [4]), ("all", [1, 2, 3, 4])])
def test_vqa_splits(root, split, images):
    folder = root.write()
    loaded = load_vqa(folder, split, VqaTask())
    assert ids(loaded) == [1000 * i + k for i in images for k in range(2)]
    assert loaded.image_paths == {root.names[i]: folder / "images" / root.names[i] for i in images}
    number = 2 * len(images)
    assert loaded.counts == {
        "read": 8, "in_split": number, "dropped_no_answer": 0, "examples": number, "images": len(images)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("several", "one", "task", "files"),
    [(load_vqa_splits, load_vqa, VqaTask(), 5), (load_caption_splits, load_caption, CaptionTask(), 1)],
)
def test_a_run_of_several_splits_reads_each_file_once(root, several, one, task, files, monkeypatch):
    folder = root.write()
    splits = {"train": ("train", None), "eval": ("val", 1), "test": ("test", None), "again": ("val", None)}
    wanted = {role: one(folder, split, task, limit) for role, (split, limit) in splits.items()}
    opened, read = [], json_files.read_bytes
    monkeypatch.setattr(json_files, "read_bytes", lambda path: opened.append(path) or read(path))
    assert several(folder, splits, task) == wanted
    assert len(opened) == len(set(opened)) == files


@pytest.mark.parametrize(("split", "images"), [("train", [1, 2]), ("val", [3]), ("test", [4]), ("all", [1, 2, 3, 4])])
def test_caption_splits(root, split, images):
    loaded = load_caption(root.write(), split, CaptionTask())
    assert ids(loaded) == images and list(loaded.image_paths) == [root.names[i] for i in images]
    number = len(images)
    assert loaded.counts == {
        "read": 4, "in_split": number, "dropped_no_answer": 0, "examples": number, "images": number
    }  # fmt: skip


def test_questions_with_no_usable_answer_are_dropped_and_counted(root):
    root.annotations()[0]["answers"] = [{"answer": text} for text in ["", "the", "...", "a", "?"] * 2]
    loaded = load_vqa(root.write(), "train", VqaTask())
    assert ids(loaded) == [1001, 2000, 2001]
    assert loaded.counts["dropped_no_answer"] == 1 and loaded.counts["in_split"] == 4


def test_limit_takes_the_first_and_keeps_the_size_of_the_split(root):
    loaded = load_vqa(root.write(), "all", VqaTask(), limit=3)
    assert ids(loaded) == [1000, 1001, 2000] and len(loaded.image_paths) == 2
    assert loaded.counts["in_split"] == 8 and loaded.counts["examples"] == 3


@pytest.mark.parametrize("limit", [0, -4])
def test_a_limit_below_one_is_refused(root, limit):
    with pytest.raises(ValueError, match=f"limit: wanted at least 1 or None for everything, given {limit}"):
        load_vqa(root.write(), "all", VqaTask(), limit=limit)


def test_an_unknown_split_is_refused(root):
    message = r"split: wanted one of train, val, test, all, given 'tset'. Did you mean 'test'\?"
    with pytest.raises(ValueError, match=message):
        load_vqa(root.write(), "tset", VqaTask())


@pytest.mark.parametrize("where", ["annotations", "vqa"])
def test_files_in_a_folder_and_gzipped_read_the_same(root, tmp_path, where):
    plain = load_vqa(root.write(), "val", VqaTask())
    moved = tmp_path / "moved"
    (moved / where).mkdir(parents=True)
    for path in root.folder.glob("*.json"):
        (moved / where / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    shutil.copytree(root.folder / "images", moved / "val2014")
    loaded = load_vqa(moved, "val", VqaTask())
    assert loaded.examples == plain.examples and loaded.counts == plain.counts
    assert load_caption(moved, "all", CaptionTask()).counts["images"] == 4


def test_one_of_the_two_years_is_enough(root):
    del root.documents[QUESTIONS.format("train2014")], root.documents[ANNOTATIONS.format("train2014")]
    assert ids(load_vqa(root.write(), "all", VqaTask())) == [2000, 2001, 3000, 3001, 4000, 4001]


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ([ANNOTATIONS.format("val2014")], "mscoco_val2014_annotations.json: wanted the answers to v2"),
        ([QUESTIONS.format("val2014")], "mscoco_val2014_questions.json: wanted the questions of"),
        ([f.format(s) for f in (QUESTIONS, ANNOTATIONS) for s in ("train2014", "val2014")], "given neither"),
        (["dataset_coco.json"], "dataset_coco.json: wanted the images of split 'train'; looked for"),
    ],
)
def test_a_missing_file_is_named(root, gone, message):
    for name in gone:
        del root.documents[name]
    with pytest.raises(MissingFile, match=message):
        load_vqa(root.write(), "train", VqaTask())


def test_split_all_needs_no_split_file(root):
    del root.documents["dataset_coco.json"]
    folder = root.write()
    assert len(load_vqa(folder, "all", VqaTask()).examples) == 8
    assert len(load_caption(folder, "all", CaptionTask()).examples) == 4
    with pytest.raises(MissingFile, match="dataset_coco.json: wanted the images and captions of split 'val'"):
        load_caption(folder, "val", CaptionTask())


def test_captions_without_karpathys_file_come_from_every_captions_file(root):
    del root.documents["dataset_coco.json"]
    one = root.documents.pop("captions.json")
    for name, chosen in (("captions_train2014.json", [1]), ("captions_val2014.json", [2, 3, 4])):
        root.documents[name] = {
            "images": [image for image in one["images"] if image["id"] in chosen],
            "annotations": [caption for caption in one["annotations"] if caption["image_id"] in chosen],
        }
    root.documents["captions_val2014_mine_results.json"] = [{"image_id": 2, "caption": "a prediction"}]
    folder = root.write()
    assert ids(load_caption(folder, "all", CaptionTask())) == [1, 2, 3, 4]
    (folder / "captions_again.json").write_text(json.dumps(one))
    with pytest.raises(BadFile, match=r"wanted every image in one captions file, given image_id in two: "):
        load_caption(folder, "all", CaptionTask())
    for image in one["images"]:  # as the captions of 2017 name those of 2014
        image["file_name"] = f"{image['id']:012}.jpg"
    (folder / "captions_again.json").write_text(json.dumps(one))
    with pytest.raises(BadFile, match=r"wanted every image in one captions file, given image_id in two: 1 "):
        load_caption(folder, "all", CaptionTask())


def test_karpathys_file_names_the_images(root):
    for image in root.karpathy():
        image["filename"] = f"other_{image['cocoid']}.jpg"
    root.names = {i: f"other_{i}.jpg" for i in root.names}
    loaded = load_vqa(root.write(), "all", VqaTask())
    assert [example.image for example in loaded.examples[::2]] == list(root.names.values())


def test_a_question_whose_image_cannot_be_named_is_refused(root):
    for subtype in ("train2014", "val2014"):
        del root.documents[QUESTIONS.format(subtype)]["data_subtype"]
    del root.karpathy()[0]
    message = r"questions.json: wanted a 'data_subtype' .* neither for question_id 2 \(1000, 1001\)"
    with pytest.raises(BadFile, match=message):
        load_vqa(root.write(), "all", VqaTask())


def test_an_annotated_image_without_its_file_is_refused_by_name(root):
    folder = root.write()
    (folder / "images" / root.names[4]).unlink()
    message = r"the files of 1 annotated images, given 1 \('COCO_val2014_0{11}4.jpg'\) not found in images"
    for load, task in ((load_vqa, VqaTask()), (load_caption, CaptionTask())):
        with pytest.raises(MissingImages, match=message):
            load(folder, "test", task)
        assert load(folder, "val", task).counts["images"] == 1  # the others do not need it


def test_an_empty_split_is_refused(root):
    root.karpathy()[2]["split"] = "train"
    folder = root.write()
    for load, task in ((load_vqa, VqaTask()), (load_caption, CaptionTask())):
        with pytest.raises(EmptySplit, match="root: wanted at least one example in split 'val', given none"):
            load(folder, "val", task)


def test_a_whole_set_is_held_to_karpathys_counts(root, monkeypatch):
    monkeypatch.setattr("dept_vl.data.karpathy.WHOLE_IMAGES", {"train": 1, "val": 2, "test": 1})
    folder = root.write()
    for load, task in ((load_vqa, VqaTask()), (load_caption, CaptionTask())):
        with pytest.raises(BadFile, match=r"\(train 1, val 2, test 1\), given train 2, val 1, test 1"):
            load(folder, "train", task)


def test_nothing_is_written_into_a_data_root(root):
    folder = root.write()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    load_vqa(folder, "train", VqaTask())
    load_caption(folder, "train", CaptionTask())
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_the_generated_set_reads_like_the_real_one(tmp_path):
    sizes = {"train": 6, "restval": 2, "val": 2, "test": 3}
    folder = write_shapes(tmp_path / "shapes", seed=3, sizes=sizes, questions_per_image=4)
    for split, images in (("train", 8), ("val", 2), ("test", 3), ("all", 13)):
        vqa = load_vqa(folder, split, VqaTask())
        captions = load_caption(folder, split, CaptionTask())
        assert vqa.counts["examples"] == 4 * images and captions.counts["examples"] == images
        assert vqa.image_paths == captions.image_paths


def test_real_vqa_questions_of_split_all(real):
    loaded = load_vqa(real / "coco_open", "all", VqaTask())
    assert loaded.counts["examples"] == 22 and loaded.counts["images"] == 18
    first = loaded.examples[0]
    assert first.source == "vqa: Is this train headed towards or from the orange building?"
    assert first.targets[0] == "from" and loaded.image_paths[first.image].is_file()
    with pytest.raises(BadFile, match=r"wanted the image of every question \(or split 'all'.* 14 \("):
        load_vqa(real / "coco_open", "train", VqaTask())


@pytest.mark.parametrize(("split", "number"), [("train", 118), ("val", 13), ("test", 16), ("all", 147)])
def test_real_captions_by_karpathys_splits(real, split, number):
    loaded = load_caption(real / "coco_open", split, CaptionTask())
    assert loaded.counts["examples"] == loaded.counts["images"] == number
    assert all(example.visits == 5 for example in loaded.examples)


def test_real_aokvqa_keeps_the_questions_whose_image_is_there(real):
    loaded = load_aokvqa(real / "coco_open", "val", VqaTask())
    assert loaded.counts["read"] == 1145 and loaded.counts["dropped_no_image"] == 1105
    assert loaded.counts["examples"] == 40 and loaded.counts["images"] == 37
    assert all(isinstance(example.id, str) and example.question_type is None for example in loaded.examples)


def test_aokvqa_test_has_no_answers_to_read(real):
    with pytest.raises(ValueError, match="split: wanted one of train, val, given 'test'"):
        load_aokvqa(real / "coco_open", "test", VqaTask())
