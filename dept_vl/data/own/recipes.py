"""Published sets by their official names and layout, as tables like a user's own: `--task.root vizwiz:data/vizwiz`.

Where a set's test answers are not published, its validation split is the test split, as papers report it, and val is
held out of train by image. data/README.md says where each set comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dept_vl.data.data_root import MissingFile, one_copy
from dept_vl.data.own import official
from dept_vl.data.own.columns import Family
from dept_vl.data.own.table import Cells, OwnTable
from dept_vl.untrusted.bad_file import BadFile

FOLDERS = ("", "annotations", "Annotations", "data", "easy_vqa/data")


@dataclass(frozen=True)
class PublishedSet:
    """files: split (None: the rows say it) to the official file's names, the first that is there is read. images:
    folders below the root in which its pictures may lie. rows: a file to its rows. home: where a person gets the set.
    note: what a user should know of its splits."""

    family: Family
    files: Mapping[str | None, tuple[str, ...]]
    images: tuple[str, ...]
    rows: Callable[[Path], Iterable[Cells]]
    home: str
    note: str = ""


def recipe_tables(name: str, root: Path, family: Family, image_root: Path | None = None) -> list[OwnTable]:
    """The splits of a published set that are there. Raises: MissingFile, BadFile, ValueError for the other family."""
    recipe = RECIPES[name]
    if family != recipe.family:
        raise ValueError(f"task.root: wanted {recipe.family} for {name}, given {family}: --task {recipe.family}")
    folders = tuple(root / each for each in recipe.images)
    folders = folders if image_root is None else (image_root, *folders)
    tables = []
    for split, names in recipe.files.items():
        places = [root / folder / each for each in names for folder in FOLDERS]
        if path := next(filter(None, map(one_copy, places)), None):
            rows = list(recipe.rows(path))
            if not rows:
                raise BadFile(path, "at least one row with a picture", "none")
            notes = (recipe.note,) if recipe.note and not tables else ()
            tables.append(_table(path, rows, folders, name if split is None else split, split, notes))
    if not tables:
        wanted = ", ".join(names[0] for names in recipe.files.values())
        raise MissingFile(f"{root}: wanted {wanted} of {name}, given none of them; they come from {recipe.home}")
    return tables


def _table(
    path: Path, rows: list[Cells], folders: tuple[Path, ...], name: str, split: str | None, notes: tuple[str, ...]
) -> OwnTable:
    return OwnTable(path, tuple(rows[0]), lambda: enumerate(rows, 1), folders, name, split, notes=notes)


def _no_test(name: str) -> str:
    return f"{name} publishes no test answers: its validation split is test, and val is held out of train"


RECIPES: Mapping[str, PublishedSet] = {
    "easy-vqa": PublishedSet(
        "vqa",
        {"train": ("train/questions.json",), "test": ("test/questions.json",)},
        ("", "data", "easy_vqa/data"),
        official.easy_vqa,
        "the PyPI package easy-vqa: give its folder easy_vqa/data",
        "val is held out of train",
    ),
    "vizwiz": PublishedSet(
        "vqa",
        {"train": ("train.json",), "test": ("val.json",)},
        ("", "train", "val", "images"),
        official.vizwiz,
        "vizwiz.org, Visual Question Answering",
        _no_test("VizWiz"),
    ),
    "gqa": PublishedSet(
        "vqa",
        {
            "train": ("train_balanced_questions.json",),
            "val": ("val_balanced_questions.json",),
            "test": ("testdev_balanced_questions.json",),
        },
        ("images", "", "allImages/images"),
        official.gqa,
        "the GQA project's page at Stanford, balanced questions and images",
        "the balanced questions; test is testdev",
    ),
    "ok-vqa": PublishedSet(
        "vqa",
        {
            "train": ("OpenEnded_mscoco_train2014_questions.json",),
            "test": ("OpenEnded_mscoco_val2014_questions.json",),
        },
        ("train2014", "val2014", "images", "images/train2014", "images/val2014", ""),
        official.ok_vqa,
        "okvqa.allenai.org, version 1.1; the images are COCO's of 2014",
        "its validation split is test, and val is held out of train",
    ),
    "textvqa": PublishedSet(
        "vqa",
        {"train": ("TextVQA_0.5.1_train.json",), "test": ("TextVQA_0.5.1_val.json",)},
        ("train_images", "train_val_images/train_images", "images", ""),
        official.text_vqa,
        "textvqa.org, version 0.5.1",
        _no_test("TextVQA"),
    ),
    "scienceqa": PublishedSet(
        "vqa",
        {None: ("problems.json", "scienceqa/problems.json")},
        ("", "images", "scienceqa/images"),
        official.science_qa,
        "scienceqa.github.io",
        "questions without a picture are left out; options stand behind the question, the answer is an option's text",
    ),
    "vqa-rad": PublishedSet(
        "vqa",
        {None: ("VQA_RAD Dataset Public.json", "VQA_RAD_Dataset_Public.json")},
        ("VQA_RAD Image Folder", "VQA_RAD_Image_Folder", "images", ""),
        official.vqa_rad,
        "the Open Science Framework, osf.io/89kps",
        "val is held out of train; the published train and test share pictures",
    ),
    "nocaps": PublishedSet(
        "caption",
        {"test": ("nocaps_val_4500_captions.json",)},
        ("images", "val", ""),
        official.nocaps,
        "nocaps.org, validation; the images are Open Images'",
        "validation is test; there is no training split: train on COCO captions, then evaluate",
    ),
    "flickr30k": PublishedSet(
        "caption",
        {None: ("dataset_flickr30k.json",)},
        ("flickr30k-images", "flickr30k_images", "images", ""),
        official.flickr30k,
        "the images from the Flickr30k page of the University of Illinois, dataset_flickr30k.json from Karpathy's page",
    ),
}
