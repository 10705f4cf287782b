"""COCO captions: the official files and Karpathy's `dataset_coco.json`.

    captions_val2014.json   {"images": [{"id": 285, "file_name": "COCO_val2014_000000000285.jpg", ...}],
                             "annotations": [{"image_id": 285, "id": 1, "caption": "A bear ..."}]}
    dataset_coco.json       {"images": [{"cocoid": 285, "filepath": "val2014", "split": "restval",
                             "filename": "COCO_val2014_000000000285.jpg",
                             "sentences": [{"raw": "A bear ...", "tokens": [...], ...}]}]}

Quirks: an image may have six or seven captions, not only five, and some raw captions end in a newline.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dept_vl.data.annotation_files import BadAnnotation, entries, field, listed, read_json
from dept_vl.data.image_files import check_file_name, check_folder

KARPATHY_SPLITS = {"train": "train", "restval": "train", "val": "val", "test": "test"}


@dataclass(frozen=True, slots=True)
class KarpathyImage:
    """One image of `dataset_coco.json`. split: train (restval joined), val or test."""

    image_id: int
    split: str
    file_name: str
    filepath: str
    captions: tuple[str, ...]


def read_captions(path: Path | str) -> list[dict[str, Any]]:
    """Rows of image_id, image (file name) and captions, one per image, in the order of the images list.

    An image without a caption keeps its row, with none.
    """
    document = read_json(path, dict)
    names: dict[int, str] = {}
    for i, entry in enumerate(entries(path, document, "images")):
        image_id = field(path, ("images", i), entry, "id", int)
        if image_id in names:
            raise BadAnnotation(path, "every image id once", f"image id {image_id} again at images[{i}]")
        names[image_id] = check_file_name(path, field(path, ("images", i), entry, "file_name", str))
    captions: dict[int, list[str]] = {image_id: [] for image_id in names}
    seen: set[int] = set()
    lonely: list[int] = []
    for i, entry in enumerate(entries(path, document, "annotations")):
        place = ("annotations", i)
        caption_id, image_id = (field(path, place, entry, key, int) for key in ("id", "image_id"))
        caption = field(path, place, entry, "caption", str)
        if caption_id in seen:
            raise BadAnnotation(path, "every caption id once", f"caption id {caption_id} again at {place}")
        seen.add(caption_id)
        if image_id in captions:
            captions[image_id].append(caption)
        else:
            lonely.append(image_id)
    if lonely:
        raise BadAnnotation(path, "an image for every caption", f"none for image_id {listed(lonely)}")
    return [{"image_id": i, "image": names[i], "captions": tuple(captions[i])} for i in names]


def read_karpathy(path: Path | str) -> dict[int, KarpathyImage]:
    """COCO image id to its split, file and captions."""
    document = read_json(path, dict, object_hook=_sentence_to_string)
    images: dict[int, KarpathyImage] = {}
    names: set[str] = set()
    for i, entry in enumerate(entries(path, document, "images")):
        place = ("images", i)
        image_id = field(path, place, entry, "cocoid", int)
        name = check_file_name(path, field(path, place, entry, "filename", str))
        split = field(path, place, entry, "split", str)
        sentences = field(path, place, entry, "sentences", list)
        filepath = check_folder(path, field(path, place, entry, "filepath", str))
        if image_id in images or name in names:
            raise BadAnnotation(path, "every image once", f"cocoid {image_id}, {name}, again at images[{i}]")
        if split not in KARPATHY_SPLITS:
            raise BadAnnotation(path, f"a split of {', '.join(KARPATHY_SPLITS)} at images[{i}]", repr(split))
        if not all(type(sentence) is str for sentence in sentences):
            raise BadAnnotation(path, f"sentences with a string 'raw' at images[{i}]", "one without")
        names.add(name)
        images[image_id] = KarpathyImage(image_id, KARPATHY_SPLITS[split], name, filepath, tuple(sentences))
    return images


def _sentence_to_string(entry: dict) -> Any:
    """Keeps the raw text of a sentence; its tokens would take most of the memory and are not used."""
    raw = entry.get("raw")
    return raw if type(raw) is str else entry
