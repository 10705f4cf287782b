"""COCO captions: the official files.

    captions_val2014.json   {"images": [{"id": 285, "file_name": "COCO_val2014_000000000285.jpg", ...}],
                             "annotations": [{"image_id": 285, "id": 1, "caption": "A bear ..."}]}

Quirks: an image may have six or seven captions, not only five, and some raw captions end in a newline.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec

from dept_vl.untrusted.bad_file import BadFile, listed
from dept_vl.untrusted.json_files import read_json
from dept_vl.untrusted.paths import check_file_name

_SOME = msgspec.Meta(min_length=1)


class CaptionedImage(msgspec.Struct):
    id: int
    file_name: str


class Caption(msgspec.Struct):
    id: int
    image_id: int
    caption: str


class CaptionFile(msgspec.Struct):
    images: Annotated[list[CaptionedImage], _SOME]
    annotations: Annotated[list[Caption], _SOME]


def read_captions(path: Path) -> list[dict[str, Any]]:
    """Rows of image_id, image (file name) and captions, one per image, in the order of the images list.

    An image without a caption keeps its row, with none.
    """
    document = read_json(path, CaptionFile)
    names: dict[int, str] = {}
    for number, image in enumerate(document.images):
        if image.id in names:
            raise BadFile(path, "every image id once", f"image id {image.id} again at images[{number}]")
        names[image.id] = check_file_name(path, image.file_name)
    captions: dict[int, list[str]] = {image_id: [] for image_id in names}
    seen: set[int] = set()
    for number, entry in enumerate(document.annotations):
        if entry.id in seen:
            raise BadFile(path, "every caption id once", f"caption id {entry.id} again at annotations[{number}]")
        seen.add(entry.id)
        captions.setdefault(entry.image_id, []).append(entry.caption)
    if unknown := captions.keys() - names.keys():
        raise BadFile(path, "an image for every caption", f"none for image_id {listed(sorted(unknown))}")
    return [{"image_id": id, "image": names[id], "captions": tuple(captions[id])} for id in names]
