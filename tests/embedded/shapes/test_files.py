import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dept_vl.data.sources import load_caption, load_vqa
from dept_vl.embedded.shapes import files, write_shapes
from dept_vl.embedded.shapes.language import WORDINGS
from dept_vl.embedded.shapes.questions import KINDS
from dept_vl.embedded.shapes.render import render_array
from dept_vl.embedded.shapes.world import held_out
from dept_vl.tasks import CaptionTask, VqaTask
from tests.scene_reading import pattern, truth

REPOSITORY = Path(__file__).resolve().parents[2]
IDS = {"train": 1, "restval": 200_001, "val": 300_001, "test": 400_001}
ANNOTATION = {"image_id", "question_id", "question_type", "answer_type", "multiple_choice_answer", "answers"}


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def read(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def members(sizes):
    """(split, image id, scene) of every picture."""
    for split, scenes in files.scenes(1, sizes).items():
        yield from ((split, IDS[split] + number, scene) for number, scene in enumerate(scenes))


def year(split: str) -> str:
    return "train2014" if split == "train" else "val2014"


def test_a_second_generation_is_byte_identical_also_in_another_process(root, sizes, tmp_path):
    code = (
        f"import sys, pathlib, dept_vl.embedded.shapes as s; s.write_shapes(pathlib.Path(sys.argv[1]), sizes={sizes})"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "other")]
    subprocess.run(command, cwd=REPOSITORY, env={**os.environ, "PYTHONHASHSEED": "12345"}, check=True)
    assert digests(tmp_path / "other") == digests(root)
    assert digests(write_shapes(tmp_path / "again", seed=1, sizes=sizes)) == digests(root)


def test_another_seed_gives_another_set(root, tmp_path):
    sizes = {"train": 2, "restval": 1, "val": 1, "test": 1}
    one, two = (digests(write_shapes(tmp_path / str(seed), seed=seed, sizes=sizes)) for seed in (1, 2))
    assert set(one) == set(two) and not set(one.values()) & set(two.values())


def test_every_picture_is_a_jpeg_of_its_scene_and_no_two_are_alike(root, sizes):
    seen = set()
    for split, image_id, scene in members(sizes):
        path = root / "images" / f"COCO_{year(split)}_{image_id:012d}.jpg"
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (96, 96))
            error = np.abs(np.asarray(image).astype(int) - render_array(scene))
        assert error.mean() < 3, "JPEG's error, not another picture"
        seen.add(path.read_bytes())
    assert len(seen) == len(list((root / "images").iterdir())) == sum(sizes.values())


def test_no_scene_is_in_two_splits_and_val_and_test_alone_are_held_out(sizes):
    keys = [scene.key() for _, _, scene in members(sizes)]
    assert len(set(keys)) == len(keys)
    assert all(held_out(scene) == (split in ("val", "test")) for split, _, scene in members(sizes))


@pytest.mark.parametrize("subtype", ["train2014", "val2014"])
def test_questions_and_annotations_have_the_official_fields(root, subtype):
    questions = read(root / f"v2_OpenEnded_mscoco_{subtype}_questions.json")
    annotations = read(root / f"v2_mscoco_{subtype}_annotations.json")
    top = {"info", "license", "data_type", "data_subtype"}
    assert set(questions) == top | {"task_type", "questions"} and set(annotations) == top | {"annotations"}
    assert questions["data_subtype"] == annotations["data_subtype"] == subtype
    assert questions["task_type"] == "Open-Ended" and questions["data_type"] == "mscoco"
    for question, annotation in zip(questions["questions"], annotations["annotations"], strict=True):
        assert set(question) == {"image_id", "question_id", "question"} and set(annotation) == ANNOTATION
        assert question["question_id"] == annotation["question_id"]
        assert question["image_id"] == annotation["image_id"] == question["question_id"] // 1000
        assert [each["answer_id"] for each in annotation["answers"]] == list(range(1, 11))
        assert all(set(each) == {"answer", "answer_confidence", "answer_id"} for each in annotation["answers"])
        assert annotation["answer_type"] in ("yes/no", "number", "other")


def test_every_written_answer_is_true_of_its_picture(root, sizes):
    scenes, kinds, asked = {image_id: scene for _, image_id, scene in members(sizes)}, set(), set()
    for subtype in ("train2014", "val2014"):
        questions = read(root / f"v2_OpenEnded_mscoco_{subtype}_questions.json")["questions"]
        annotations = read(root / f"v2_mscoco_{subtype}_annotations.json")["annotations"]
        for question, annotation in zip(questions, annotations, strict=True):
            kind, text = annotation["question_type"], question["question"]
            wording = next(each for each in WORDINGS[kind] if pattern(each).fullmatch(text))
            answer = truth(kind, wording, text, scenes[question["image_id"]])
            given = [each["answer"] for each in annotation["answers"]]
            assert annotation["multiple_choice_answer"] == answer and given.count(answer) >= 7
            numeral = "number" if answer.isdigit() else "other"
            assert annotation["answer_type"] == ("yes/no" if answer in ("yes", "no") else numeral)
            kinds.add(kind)
            assert (question["image_id"], text) not in asked
            asked.add((question["image_id"], text))
    assert kinds == set(KINDS) and len(asked) == 6 * sum(sizes.values())


def test_the_captions_files_load_with_pycocotools(root, sizes, capsys):
    from pycocotools.coco import COCO

    for subtype, splits in (("train2014", ["train"]), ("val2014", ["restval", "val", "test"])):
        coco = COCO(str(root / f"captions_{subtype}.json"))
        assert len(coco.getImgIds()) == sum(sizes[split] for split in splits)
        for image in coco.loadImgs(coco.getImgIds()):
            assert (image["height"], image["width"]) == (96, 96)
            assert (root / "images" / image["file_name"]).is_file()
            captions = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
            assert len({each["caption"] for each in captions}) == 5
            assert all(set(each) == {"image_id", "id", "caption"} for each in captions)
    assert "index created" in capsys.readouterr().out


def test_karpathys_file_says_the_same_as_the_captions_files(root, sizes):
    karpathy = read(root / "dataset_coco.json")
    assert karpathy["dataset"] == "coco"
    captions = {
        each["id"]: (each["image_id"], each["caption"])
        for subtype in ("train2014", "val2014")
        for each in read(root / f"captions_{subtype}.json")["annotations"]
    }
    assert len(captions) == 5 * sum(sizes.values())
    expected = [(split, image_id) for split, image_id, _ in members(sizes)]
    assert [(image["split"], image["cocoid"]) for image in karpathy["images"]] == expected
    for number, image in enumerate(karpathy["images"]):
        assert set(image) == {"filepath", "filename", "imgid", "cocoid", "split", "sentids", "sentences"}
        assert image["imgid"] == number and image["filepath"] == year(image["split"])
        assert image["filename"] == f"COCO_{image['filepath']}_{image['cocoid']:012d}.jpg"
        assert image["sentids"] == [each["sentid"] for each in image["sentences"]]
        for each in image["sentences"]:
            assert set(each) == {"tokens", "raw", "imgid", "sentid"} and each["imgid"] == number
            assert captions.pop(each["sentid"]) == (image["cocoid"], each["raw"])
            assert each["tokens"] == re.findall(r"[a-z]+", each["raw"].lower())
    assert not captions


@pytest.mark.parametrize("split", ["train", "val", "test", "all"])
def test_the_readers_of_real_sets_load_every_split(root, sizes, split):
    images = {**sizes, "train": sizes["train"] + sizes["restval"], "all": sum(sizes.values())}[split]
    vqa, captions = load_vqa(root, split, VqaTask()), load_caption(root, split, CaptionTask())
    assert vqa.counts == {
        "read": 6 * sum(sizes.values()), "in_split": 6 * images, "dropped_no_answer": 0, "examples": 6 * images,
        "images": images,
    }  # fmt: skip
    assert captions.counts["examples"] == captions.counts["images"] == len(captions.examples) == images
    assert vqa.image_paths == captions.image_paths and all(path.is_file() for path in vqa.image_paths.values())


def test_who_always_tells_the_truth_scores_1(root):
    loaded = load_vqa(root, "test", VqaTask())
    truths = {example.id: max(example.references, key=example.references.count) for example in loaded.examples}
    score = VqaTask().score(truths, loaded.examples, split_size=loaded.counts["in_split"])
    assert score["vqa_accuracy"] == 1.0


def test_a_set_that_is_there_is_left_alone(root, sizes, monkeypatch):
    monkeypatch.setattr(files, "_write", None)
    assert write_shapes(root, seed=1, sizes=sizes) == root


@pytest.mark.parametrize("change", [{"seed": 2}, {"sizes": {"train": 1}}, {"questions_per_image": 3}])
def test_another_set_in_the_folder_is_refused_and_kept(root, sizes, change):
    before = digests(root)
    with pytest.raises(FileExistsError, match=re.escape(f"{root}: wanted an empty folder for Shapes ")) as caught:
        write_shapes(root, **{"seed": 1, "sizes": sizes, **change})
    assert '"seed": 1' in str(caught.value).partition("found ")[2]
    assert digests(root) == before and [path.name for path in root.parent.iterdir()] == [root.name]


def test_a_folder_with_other_files_is_refused_and_kept(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="wanted an empty folder for Shapes .*, found other files"):
        write_shapes(tmp_path, sizes={"train": 1})
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "shapes").mkdir()
    assert (write_shapes(tmp_path / "shapes", sizes={"train": 1}) / "shapes.json").is_file()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
@pytest.mark.parametrize("writer", ["_save_jpeg", "_dump"])
def test_an_interrupted_write_leaves_nothing_and_the_next_one_works(writer, error, root, sizes, tmp_path, monkeypatch):
    calls, real = [], getattr(files, writer)

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise error
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(files, writer, failing)
        with pytest.raises(error if isinstance(error, type) else OSError):
            write_shapes(tmp_path / "shapes", seed=1, sizes=sizes)
    assert list(tmp_path.iterdir()) == []
    assert digests(write_shapes(tmp_path / "shapes", seed=1, sizes=sizes)) == digests(root)


def test_a_set_that_another_process_finished_meanwhile_is_taken(tmp_path, monkeypatch):

    root, write = tmp_path / "shapes", files._write

    def overtaken(half, *arguments):
        write(half, *arguments)
        monkeypatch.setattr(files, "_write", write)
        monkeypatch.setattr(files.os, "getpid", lambda: 0)
        write_shapes(root, sizes={"train": 4, "restval": 1, "val": 2, "test": 2})

    monkeypatch.setattr(files, "_write", overtaken)
    assert write_shapes(root, sizes={"train": 4, "restval": 1, "val": 2, "test": 2}) == root
    assert [path.name for path in tmp_path.iterdir()] == ["shapes"]
