"""Published sets: made-up rows in the format and the layout of each, read by its recipe, and its config."""

import json
from pathlib import Path

import pytest
import yaml

from dept_vl.data.data_root import MissingFile
from dept_vl.data.own import RECIPES, load_own_splits, read_own
from dept_vl.tasks import TASKS
from dept_vl.untrusted.bad_file import BadFile
from tests.data.own_files import picture

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "own"
TEN = [f"answer {place}" for place in range(10)]


def vqa2_questions(ids, subtype):
    return {
        "data_subtype": subtype,
        "questions": [{"image_id": id, "question": f"What is {id}?", "question_id": id * 10} for id in ids],
    }


def vqa2_annotations(ids):
    return {
        "annotations": [
            {
                "image_id": id,
                "question_id": id * 10,
                "question_type": "four",
                "answer_type": "other",
                "confidence": 3,
                "answers": [
                    {"answer_id": n, "raw_answer": f"{a}s", "answer_confidence": "yes", "answer": a}
                    for n, a in enumerate(TEN)
                ],
            }
            for id in ids
        ]
    }


def vizwiz(name):
    return {
        "image": f"VizWiz_{name}_00000001.jpg",
        "question": "What is this?",
        "answerable": 1,
        "answer_type": "other",
        "answers": [{"answer_confidence": "yes", "answer": each} for each in TEN],
    }


def gqa(image):
    return {
        "imageId": image,
        "question": "Is it red?",
        "answer": "yes",
        "fullAnswer": "Yes, it is.",
        "isBalanced": True,
        "groups": {"global": None, "local": "1"},
        "types": {"structural": "verify", "semantic": "attr", "detailed": "x"},
    }


def text_vqa(name):
    row = {
        "question": "What does it say?",
        "image_id": f"{name}f2fe05",
        "image_classes": ["Sign"],
        "answers": TEN,
        "flickr_original_url": "https://example.org/a.jpg",
        "question_tokens": ["what"],
        "set_name": name,
    }
    return {"dataset_type": name, "dataset_name": "textvqa", "data": [{**row, "question_id": 7}]}


def science(split, image):
    return {
        "question": "Which is it?",
        "choices": ["a cat", "a dog"],
        "answer": 1,
        "hint": "It barks.",
        "image": image,
        "task": "closed choice",
        "grade": "grade2",
        "subject": "natural science",
        "topic": "biology",
        "split": split,
    }


def rad(id, phrase, image):
    return {
        "qid": id,
        "phrase_type": phrase,
        "image_name": image,
        "image_organ": "CHEST",
        "question": "Is it?",
        "question_type": "PRES",
        "answer": 3 if id == 1 else "Yes",
        "answer_type": "CLOSED ",
    }


CAPTIONED = {
    "images": [{"id": 0, "file_name": "0013.jpg", "domain": "in-domain", "open_images_id": "0013"}],
    "annotations": [{"id": n, "image_id": 0, "caption": f"A thing {n}."} for n in range(10)],
}
FLICKR = {
    "dataset": "flickr30k",
    "images": [
        {
            "sentids": [0],
            "imgid": n,
            "filename": f"{n}.jpg",
            "split": split,
            "sentences": [{"tokens": ["a"], "raw": f"A thing {k}.", "imgid": n, "sentid": k} for k in range(5)],
        }
        for n, split in enumerate(("train", "val", "test"))
    ],
}
SETS = {
    "easy-vqa": (
        {
            "train/questions.json": [["what shape?", "circle", n] for n in range(3)],
            "test/questions.json": [["what colour?", "teal", 0]],
        },
        ["train/images/0.png", "train/images/1.png", "train/images/2.png", "test/images/0.png"],
    ),
    "vizwiz": (
        {"Annotations/train.json": [vizwiz("train")], "Annotations/val.json": [vizwiz("val")]},
        ["train/VizWiz_train_00000001.jpg", "val/VizWiz_val_00000001.jpg"],
    ),
    "gqa": (
        {
            "train_balanced_questions.json": {"07": gqa("n1")},
            "val_balanced_questions.json": {"08": gqa("n2")},
            "testdev_balanced_questions.json": {"09": gqa("n3")},
        },
        ["images/n1.jpg", "images/n2.jpg", "images/n3.jpg"],
    ),
    "ok-vqa": (
        {
            "OpenEnded_mscoco_train2014_questions.json": vqa2_questions([1, 2], "train2014"),
            "mscoco_train2014_annotations.json": vqa2_annotations([1, 2]),
            "OpenEnded_mscoco_val2014_questions.json": vqa2_questions([3], "val2014"),
            "mscoco_val2014_annotations.json": vqa2_annotations([3]),
        },
        [
            "train2014/COCO_train2014_000000000001.jpg",
            "train2014/COCO_train2014_000000000002.jpg",
            "val2014/COCO_val2014_000000000003.jpg",
        ],
    ),
    "textvqa": (
        {
            "TextVQA_0.5.1_train.json": text_vqa("train"),
            "TextVQA_0.5.1_val.json": {**text_vqa("val"), "data": [{**text_vqa("val")["data"][0], "question_id": 8}]},
        },
        ["train_images/trainf2fe05.jpg", "train_images/valf2fe05.jpg"],
    ),
    "scienceqa": (
        {
            "problems.json": {
                "1": science("train", "image.png"),
                "2": science("val", "image.png"),
                "3": science("test", "image.png"),
                "4": science("train", None),
            }
        },
        ["images/train/1/image.png", "images/val/2/image.png", "images/test/3/image.png"],
    ),
    "vqa-rad": (
        {"VQA_RAD Dataset Public.json": [rad(1, "freeform", "synpic1.jpg"), rad("2", "test_para", "synpic2.jpg")]},
        ["VQA_RAD Image Folder/synpic1.jpg", "VQA_RAD Image Folder/synpic2.jpg"],
    ),
    "nocaps": ({"nocaps_val_4500_captions.json": CAPTIONED}, ["images/0013.jpg"]),
    "flickr30k": (
        {"dataset_flickr30k.json": FLICKR},
        ["flickr30k-images/0.jpg", "flickr30k-images/1.jpg", "flickr30k-images/2.jpg"],
    ),
}
"""Official files by name, and the pictures that go with them."""


def write_set(folder, name):
    documents, pictures = SETS[name]
    for file, document in documents.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(json.dumps(document))
    for number, file in enumerate(pictures):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(picture(number))
    return folder


def test_every_recipe_has_rows_of_its_format_here_and_a_config():
    assert set(SETS) == set(RECIPES) == {path.stem for path in CONFIGS.glob("*.yaml")}


@pytest.mark.parametrize("name", SETS)
def test_a_recipe_reads_the_official_files_and_finds_every_picture(tmp_path, name):
    found = read_own(f"{name}:{write_set(tmp_path, name)}", family=RECIPES[name].family)
    pictures = [str(path.relative_to(tmp_path)) for path in found.image_paths.values()]
    assert sorted(pictures) == sorted(SETS[name][1])
    named = {split for split in RECIPES[name].files if split}
    assert set(found.rows) == (named or set(found.rows)) and "all" not in found.rows and not found.skipped


def rows_of(folder, name):
    found = read_own(f"{name}:{write_set(folder, name)}", family=RECIPES[name].family)
    return found, {split: [dict(row) for row in rows] for split, rows in found.rows.items()}


def test_what_each_set_says_of_a_question(tmp_path):
    none = {"question_type": None, "answer_type": None}
    expected = {
        "easy-vqa": (
            "test",
            {"question_id": "test-1", "image": "test/images/0.png", "question": "what colour?", "answers": ("teal",)}
            | none,
        ),
        "vizwiz": (
            "test",
            {
                "question_id": "VizWiz_val_00000001.jpg",
                "image": "val/VizWiz_val_00000001.jpg",
                "question": "What is this?",
                "answers": tuple(TEN),
                "question_type": None,
                "answer_type": "other",
            },
        ),
        "gqa": (
            "test",
            {
                "question_id": "09",
                "image": "images/n3.jpg",
                "question": "Is it red?",
                "answers": ("yes",),
                "question_type": "verify",
                "answer_type": None,
            },
        ),
        "ok-vqa": (
            "test",
            {
                "question_id": 30,
                "image": "val2014/COCO_val2014_000000000003.jpg",
                "question": "What is 3?",
                "answers": tuple(TEN),
                "question_type": "four",
                "answer_type": "other",
            },
        ),
        "textvqa": (
            "train",
            {
                "question_id": 7,
                "image": "train_images/trainf2fe05.jpg",
                "question": "What does it say?",
                "answers": tuple(TEN),
            }
            | none,
        ),
        "scienceqa": (
            "test",
            {
                "question_id": "3",
                "image": "images/test/3/image.png",
                "question": "Which is it? Context: It barks. Options: (A) a cat (B) a dog",
                "answers": ("a dog",),
                "question_type": "natural science",
                "answer_type": None,
            },
        ),
        "vqa-rad": (
            "train",
            {
                "question_id": 1,
                "image": "VQA_RAD Image Folder/synpic1.jpg",
                "question": "Is it?",
                "answers": ("3",),
                "question_type": "PRES",
                "answer_type": "CLOSED",
            },
        ),
        "nocaps": (
            "test",
            {"image_id": 0, "image": "images/0013.jpg", "captions": tuple(f"A thing {n}." for n in range(10))},
        ),
        "flickr30k": (
            "val",
            {"image_id": 1, "image": "flickr30k-images/1.jpg", "captions": tuple(f"A thing {n}." for n in range(5))},
        ),
    }
    for name, (split, row) in expected.items():
        _, rows = rows_of(tmp_path / name, name)
        assert row in rows[split], name


def test_scienceqa_tells_that_questions_without_a_picture_are_left_out(tmp_path):
    found, rows = rows_of(tmp_path, "scienceqa")
    assert len(rows["train"]) == 1 and any("without a picture are left out" in note for note in found.notes)


@pytest.mark.parametrize("name", SETS)
def test_a_config_is_that_of_its_recipe(name):
    task = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["task"]
    assert task["root"] == f"{name}:data/{name}" and task["name"] == RECIPES[name].family


def test_val_is_held_out_of_train_where_a_set_has_none(tmp_path):
    task = TASKS["vqa"]
    root = write_set(tmp_path, "ok-vqa")
    splits = {name: (name, None) for name in ("train", "val", "test")}
    loaded = load_own_splits(f"ok-vqa:{root}", splits, task)
    assert {name: each.counts["examples"] for name, each in loaded.items()} == {"train": 1, "val": 1, "test": 1}
    assert loaded["test"].examples[0].id == 30


def test_an_absent_set_and_the_other_family_are_refused(tmp_path):
    with pytest.raises(MissingFile, match="wanted train.json, val.json of vizwiz.* come from vizwiz.org"):
        read_own(f"vizwiz:{tmp_path}", family="vqa")
    with pytest.raises(ValueError, match="wanted caption for nocaps"):
        read_own(f"nocaps:{tmp_path}", family="vqa")
    root = write_set(tmp_path, "ok-vqa")
    (root / "mscoco_val2014_annotations.json").unlink()
    with pytest.raises(MissingFile, match="mscoco_val2014_annotations.json"):
        read_own(f"ok-vqa:{root}", family="vqa")


def test_a_wrong_official_file_names_itself(tmp_path):
    root = write_set(tmp_path, "textvqa")
    (root / "TextVQA_0.5.1_train.json").write_text('{"data": [{"question": "a"}]}')
    with pytest.raises(BadFile, match="TextVQA_0.5.1_train.json: .*question_id"):
        read_own(f"textvqa:{root}", family="vqa")
