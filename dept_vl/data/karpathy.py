"""The Karpathy split, of images and of questions: `dataset_coco.json`.

    {"images": [{"cocoid": 285, "filepath": "val2014", "split": "restval", "filename": "COCO_val2014_000000000285.jpg",
                 "sentences": [{"raw": "A bear ...", "tokens": [...], ...}, ... five or more]}, ...]}

Karpathy and Fei-Fei, CVPR 2015, arXiv:1412.2306, split the images of train2014 and val2014 in three;
`restval` joins train. For VQA every train+val question goes to the split of its image: that the three
counts below sum to exactly the 443,757 + 214,354 questions of VQA v2 shows that none is left out. Splits
drawn anew at random go by the same name, so a whole set is held to the counts and to its val and test ids.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from dept_vl.untrusted.bad_file import BadFile, listed
from dept_vl.untrusted.json_files import read_json
from dept_vl.untrusted.paths import check_file_name, check_folder

SPLITS = ("train", "val", "test")
WHOLE_IMAGES = {"train": 113_287, "val": 5_000, "test": 5_000}
WHOLE_QUESTIONS = {"train": 605_102, "val": 26_729, "test": 26_280}
# SHA-256 of the ascending COCO ids, joined by spaces
WHOLE_MEMBERS = {
    "val": "8ef1c2a804707c0c97b34b435e67b8d2a8ad2776f9dbc07eb9a3ebf80b32377b",
    "test": "baab55c72b3dfc21360e0ff4fda07f11c8318ef71296ecf0b1eaa4558a1dff05",
}


class Sentence(msgspec.Struct, gc=False):
    raw: str  # its tokens would take most of the memory and are not used


class KarpathyImage(msgspec.Struct):
    """One image. split: train (restval joined), val or test."""

    image_id: int = msgspec.field(name="cocoid")
    split: Literal["train", "restval", "val", "test"]
    file_name: str = msgspec.field(name="filename")
    filepath: str
    sentences: list[Sentence]

    def __post_init__(self) -> None:
        self.split = "train" if self.split == "restval" else self.split

    @property
    def captions(self) -> tuple[str, ...]:
        return tuple(sentence.raw for sentence in self.sentences)


class KarpathyFile(msgspec.Struct):
    images: Annotated[list[KarpathyImage], msgspec.Meta(min_length=1)]


def read_karpathy(path: Path) -> dict[int, KarpathyImage]:
    """COCO image id to its split, file and captions. Raises: BadFile."""
    images: dict[int, KarpathyImage] = {}
    names: set[str] = set()
    for number, image in enumerate(read_json(path, KarpathyFile).images):
        name = check_file_name(path, image.file_name)
        check_folder(path, image.filepath)
        if image.image_id in images or name in names:
            raise BadFile(path, "every image once", f"cocoid {image.image_id}, {name}, again at images[{number}]")
        names.add(name)
        images[image.image_id] = image
    return images


def members_digest(image_ids: Iterable[int]) -> str:
    """The fingerprint of a set of image ids that WHOLE_MEMBERS holds."""
    return hashlib.sha256(" ".join(map(str, sorted(image_ids))).encode()).hexdigest()


def check_whole_images(karpathy: Mapping[int, KarpathyImage], file: Path | str) -> None:
    """Hold the whole set, known by its number of images, to its counts and members; a part passes."""
    if len(karpathy) != sum(WHOLE_IMAGES.values()):
        return
    _check_counts(Counter(image.split for image in karpathy.values()), WHOLE_IMAGES, "images", file)
    for split, wanted in WHOLE_MEMBERS.items():
        ids = [image.image_id for image in karpathy.values() if image.split == split]
        if members_digest(ids) != wanted:
            given = f"{len(ids):,} other images (members {members_digest(ids)[:12]}, not {wanted[:12]})"
            raise BadFile(file, f"Karpathy's {split} images, not a split drawn anew", given)


def split_questions(
    rows: Iterable[Mapping[str, Any]], karpathy: Mapping[int, KarpathyImage], file: Path | str
) -> dict[str, list[Mapping[str, Any]]]:
    """Rows by the split of their image, in their order. file: where the images come from, for messages.

    Raises: BadFile when an image is in no split, or a whole set has other counts than Karpathy's.
    """
    check_whole_images(karpathy, file)
    splits: dict[str, list[Mapping[str, Any]]] = {split: [] for split in SPLITS}
    unplaced: list[int] = []
    for row in rows:
        image = karpathy.get(row["image_id"])
        if image is None:
            unplaced.append(row["question_id"])
        else:
            splits[image.split].append(row)
    if unplaced:
        wanted = "the image of every question (or split 'all', which needs no split of the images)"
        raise BadFile(file, wanted, f"none for the image of question_id {listed(unplaced)}")
    counts = Counter({split: len(members) for split, members in splits.items()})
    if counts.total() == sum(WHOLE_QUESTIONS.values()):
        _check_counts(counts, WHOLE_QUESTIONS, "questions", file)
    return splits


def _check_counts(counts: Counter[str], wanted: Mapping[str, int], what: str, file: Path | str) -> None:
    def line(of: Mapping[str, int]) -> str:
        return ", ".join(f"{split} {of[split]:,}" for split in SPLITS)

    if any(counts[split] != wanted[split] for split in SPLITS):
        raise BadFile(file, f"the {what} of the Karpathy split ({line(wanted)})", line(counts))
