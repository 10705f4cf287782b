"""From a data root on disk to examples: which files a split needs, what is counted, where its images lie.

The same code reads the generated Shapes, the official COCO and VQA v2 files and any part of them;
data/README.md draws the layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dept_vl.data.aokvqa import names_by_coco_id, read_aokvqa
from dept_vl.data.coco import read_captions
from dept_vl.data.data_root import (
    MissingFile,
    find_file,
    image_folders,
    list_images,
    locate_images,
    matching_files,
    require_file,
)
from dept_vl.data.karpathy import SPLITS, KarpathyImage, check_whole_images, read_karpathy, split_questions
from dept_vl.data.vqa2 import join
from dept_vl.registry import wanted_one_of
from dept_vl.tasks import Example, Task
from dept_vl.untrusted.bad_file import BadFile, listed

KARPATHY = "dataset_coco.json"
QUESTIONS, ANNOTATIONS = "v2_OpenEnded_mscoco_{}_questions.json", "v2_mscoco_{}_annotations.json"
SUBTYPES = ("train2014", "val2014")
Row = Mapping[str, Any]
Splits = Mapping[str, tuple[str, int | None]]
"""A run's names for what it loads ("train", "eval") to a split and the greatest number of examples of it."""


class EmptySplit(ValueError):
    """The asked-for split holds nothing to use."""


@dataclass(frozen=True)
class Loaded:
    """A split, ready to use.

    counts: read (rows in the files), in_split (rows of the split, the number a whole evaluation covers),
    dropped_no_answer and, for A-OKVQA, dropped_no_image, then examples and images, as loaded; images_of_another_year
    where some were found under another year's name; skipped_bad_rows of own data that has any. notes: sentences
    about how own data was understood. skipped: file, place, column and reason of each of its rows that was left out.
    columns: of own text, which column holds which field. shares: of own data, those by which a split is drawn.
    """

    examples: list[Example]
    counts: dict[str, int]
    image_paths: dict[str, Path]
    notes: tuple[str, ...] = ()
    skipped: tuple[Mapping[str, str | None], ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    shares: tuple[float, ...] = ()


def load_vqa(root: Path | str, split: str, task: Task, limit: int | None = None) -> Loaded:
    """VQA v2 questions of a Karpathy split; split 'all' takes every question and needs no split file.

    limit: stop after so many examples (None: all of them).
    """
    return load_vqa_splits(root, {split: (split, limit)}, task)[split]


def load_vqa_splits(root: Path | str, splits: Splits, task: Task) -> dict[str, Loaded]:
    """As `load_vqa`, for several splits: each file is read once."""
    root = check_splits(root, splits)
    names = {split for split, _ in splits.values()}
    karpathy_file = find_file(root, KARPATHY)
    if divided := sorted(names - {"all"}):
        karpathy_file = require_file(root, KARPATHY, f"the images of split {divided[0]!r}")
    karpathy = read_karpathy(karpathy_file) if karpathy_file else {}
    question_files, annotation_files = _vqa_files(root)
    rows = join(question_files, annotation_files, task.fewest_answers)
    _name_images(rows, karpathy, question_files)
    chosen = {"all": rows} | (split_questions(rows, karpathy, karpathy_file) if divided else {})
    filepaths = {image.filepath for image in karpathy.values()}
    read, last = {"read": len(rows)}, {split: role for role, (split, _) in splits.items()}
    chosen, rows = {split: chosen[split] for split in last}, []  # a row goes once its last example is made
    loaded = {}
    for role, (split, limit) in splits.items():
        own = chosen.pop(split) if role == last[split] else list(chosen[split])
        loaded[role] = _load(root, split, own, task, limit, read, filepaths)
    return loaded


def load_caption(root: Path | str, split: str, task: Task, limit: int | None = None) -> Loaded:
    """Images with their captions: one example per image.

    The captions are those of `dataset_coco.json`. Where that file is absent only split 'all' can be had,
    from the official captions files.
    """
    return load_caption_splits(root, {split: (split, limit)}, task)[split]


def load_caption_splits(root: Path | str, splits: Splits, task: Task) -> dict[str, Loaded]:
    """As `load_caption`, for several splits: each file is read once."""
    root = check_splits(root, splits)
    divided = sorted({split for split, _ in splits.values()} - {"all"})
    karpathy_file = find_file(root, KARPATHY)
    caption_files = [p for p in matching_files(root, "captions*.json") if "_results.json" not in p.name]
    if not divided and karpathy_file is None and caption_files:
        rows = _merged_captions(caption_files)
        return {
            role: _load(root, split, list(rows), task, limit, {"read": len(rows)})
            for role, (split, limit) in splits.items()
        }
    wanted = divided[0] if divided else "all"
    karpathy_file = require_file(root, KARPATHY, f"the images and captions of split {wanted!r}")
    karpathy = read_karpathy(karpathy_file)
    check_whole_images(karpathy, karpathy_file)
    filepaths = {image.filepath for image in karpathy.values()}

    def rows_of(split: str) -> list[Row]:
        return [
            {"image_id": image.image_id, "image": image.file_name, "captions": image.captions}
            for image in karpathy.values()
            if split in (image.split, "all")
        ]

    return {
        role: _load(root, split, rows_of(split), task, limit, {"read": len(karpathy)}, filepaths)
        for role, (split, limit) in splits.items()
    }


def load_aokvqa(root: Path | str, split: str, task: Task, limit: int | None = None) -> Loaded:
    """A-OKVQA's direct-answer questions, split 'train' or 'val' (its test answers are not published).

    Its images belong to COCO; a question whose image is not present is dropped and counted.
    """
    root = _checked(root, split, ("train", "val"), limit)
    path = require_file(root, f"aokvqa_v1p0_{split}.json", f"A-OKVQA's {split} questions")
    rows = read_aokvqa(path, task.fewest_answers)
    names = names_by_coco_id(list_images(image_folders(root)))
    present = [{**row, "image": names[row["image_id"]]} for row in rows if row["image_id"] in names]
    counts = {"read": len(rows), "dropped_no_image": len(rows) - len(present)}
    return _load(root, split, present, task, limit, counts)


def check_splits(root: Path | str, splits: Splits) -> Path:
    """The root as a path. Raises: ValueError for a split or a limit that there is not."""
    for split, limit in splits.values():
        _checked(root, split, (*SPLITS, "all"), limit)
    return Path(root)


def _checked(root: Path | str, split: str, splits: tuple[str, ...], limit: int | None) -> Path:
    if split not in splits:
        raise ValueError(f"task.train_split, eval_split or test_split: {wanted_one_of(splits, split)}")
    if limit is not None and limit < 1:
        raise ValueError(f"limit: wanted at least 1 or None for everything, given {limit}")
    return Path(root)


def _vqa_files(root: Path) -> tuple[list[Path], list[Path]]:
    """The questions and the annotations files present, of train2014, val2014 or both."""
    questions, annotations = [], []
    for subtype in SUBTYPES:
        pair = [find_file(root, pattern.format(subtype)) for pattern in (QUESTIONS, ANNOTATIONS)]
        if pair[0]:
            questions.append(pair[0])
            annotations.append(require_file(root, ANNOTATIONS.format(subtype), f"the answers to {pair[0].name}"))
        elif pair[1]:
            require_file(root, QUESTIONS.format(subtype), f"the questions of {pair[1].name}")
    if not questions:
        wanted = " or ".join(QUESTIONS.format(subtype) for subtype in SUBTYPES)
        raise MissingFile(
            f"{root}: wanted {wanted}, with annotations, given neither; see data/README.md, and docs/own_data.md "
            "for a table of your own"
        )
    return questions, annotations


def _name_images(rows: list[dict[str, Any]], karpathy: Mapping[int, KarpathyImage], files: list[Path]) -> None:
    """Karpathy's file says an image's name; only where it does not know the image does the convention."""
    for row in rows:
        if image := karpathy.get(row["image_id"]):
            row["image"] = image.file_name
    nameless = [row["question_id"] for row in rows if row["image"] is None]
    if nameless:
        wanted = f"a 'data_subtype' at the top, or the image in {KARPATHY}"
        raise BadFile(", ".join(map(str, files)), wanted, f"neither for question_id {listed(nameless)}")


def _merged_captions(files: list[Path]) -> list[Row]:
    rows: dict[int, Row] = {}
    for path in files:
        found = read_captions(path)
        twice = [row["image_id"] for row in found if row["image_id"] in rows]
        if twice:  # in the files of 2014 and 2017 under two names
            raise BadFile(path, "every image in one captions file", f"image_id in two: {listed(twice)}")
        rows.update((row["image_id"], row) for row in found)
    return list(rows.values())


def _load(
    root: Path,
    split: str,
    rows: list[Row | None],
    task: Task,
    limit: int | None,
    counts: dict[str, int],
    filepaths: Iterable[str] = (),
) -> Loaded:
    examples, counts = read_examples(root, split, rows, task, limit, counts)
    image_paths = locate_images(root, (example.image for example in examples), filepaths)
    counts["images"] = len(image_paths)
    if renamed := sum(path.name != name for name, path in image_paths.items()):
        counts["images_of_another_year"] = renamed
    return Loaded(examples, counts, image_paths)


def read_examples(
    root: Path | str, split: str, rows: list[Row | None], task: Task, limit: int | None, counts: Mapping[str, int]
) -> tuple[list[Example], dict[str, int]]:
    """The examples of up to `limit` rows, and `counts` with theirs. Empties `rows`: a million of them take more memory
    than their examples.

    Raises: EmptySplit, and what `task.read` raises.
    """
    examples: list[Example] = []
    dropped = 0
    for place, row in enumerate(rows):
        if len(examples) == limit:
            break
        rows[place] = None
        example = task.read(row)
        if example is None:
            dropped += 1
        else:
            examples.append(example)
    counts = {**counts, "in_split": len(rows), "dropped_no_answer": dropped, "examples": len(examples)}
    if not examples:
        raise EmptySplit(f"{root}: wanted at least one example in split {split!r}, given none (counts: {counts})")
    return examples, counts
