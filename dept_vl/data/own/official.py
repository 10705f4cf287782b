"""Read the official files of published sets: each function takes a file and gives rows with usual column names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from dept_vl.data.coco import read_captions
from dept_vl.data.data_root import MissingFile, one_copy
from dept_vl.data.vqa2 import AnnotatorsAnswer, join
from dept_vl.untrusted.bad_file import BadFile
from dept_vl.untrusted.json_files import read_json

Cells = Mapping[str, Any]


def easy_vqa(path: Path) -> Iterable[Cells]:
    """[["what color is the shape?", "blue", 0], ...]; images/0.png beside the file."""
    for question, answer, image in read_json(path, list[tuple[str, str, int]]):
        yield {"image": f"{path.parent.name}/images/{image}.png", "question": question, "answer": answer}


class _VizWiz(msgspec.Struct):
    image: str
    question: str
    answers: list[AnnotatorsAnswer]
    answer_type: str | None = None


def vizwiz(path: Path) -> Iterable[Cells]:
    """[{"image": "VizWiz_train_00000000.jpg", "question": ..., "answers": [{"answer": ...} ten times], ...}, ...]"""
    for row in read_json(path, list[_VizWiz]):
        answers = [each.answer for each in row.answers]
        yield {
            "question_id": row.image, "image": row.image, "question": row.question, "answers": answers,
            "answer_type": row.answer_type,
        }  # fmt: skip


class _Gqa(msgspec.Struct):
    image: str = msgspec.field(name="imageId")
    question: str
    answer: str
    types: dict[str, str | None] = {}


def gqa(path: Path) -> Iterable[Cells]:
    """{"201307251": {"imageId": "2354786", "question": ..., "answer": "yes", "types": {"structural": ...}}, ...}"""
    for id, row in read_json(path, dict[str, _Gqa]).items():
        yield {
            "question_id": id, "image": f"{row.image}.jpg", "question": row.question, "answer": row.answer,
            "question_type": row.types.get("structural"),
        }  # fmt: skip


def ok_vqa(path: Path) -> Iterable[Cells]:
    """VQA v2's format; the annotations stand beside the questions."""
    name = path.name.removesuffix(".gz").removeprefix("OpenEnded_").replace("_questions", "_annotations")
    annotations = one_copy(path.with_name(name))
    if annotations is None:
        raise MissingFile(f"{path.with_name(name)}: wanted the answers to {path.name}, given no such file")
    columns = ("question_id", "image", "question", "answers", "question_type", "answer_type")
    return [{column: row[column] for column in columns} for row in join([path], [annotations])]


class _TextVqa(msgspec.Struct):
    question_id: int
    question: str
    image_id: str
    answers: list[str]


class _TextVqaFile(msgspec.Struct):
    data: list[_TextVqa]


def text_vqa(path: Path) -> Iterable[Cells]:
    """{"data": [{"question_id": 0, "image_id": "0054c91397f2fe05", "question": ..., "answers": [ten], ...}, ...]}"""
    document = read_json(path, _TextVqaFile)
    for row in document.data:
        yield {
            "question_id": row.question_id, "image": f"{row.image_id}.jpg", "question": row.question,
            "answers": row.answers,
        }  # fmt: skip


class _ScienceQa(msgspec.Struct):
    question: str
    choices: list[str]
    answer: int
    split: str
    hint: str = ""
    image: str | None = None
    subject: str | None = None


def science_qa(path: Path) -> Iterable[Cells]:
    """{"1": {"question": ..., "choices": [...], "answer": 0, "hint": ..., "image": "image.png", "split": "train"}, ...}

    About half of the questions have no picture and are left out. The answer is the choice's text.
    """
    for id, row in read_json(path, dict[str, _ScienceQa]).items():
        if row.image is None:
            continue
        if not 0 <= row.answer < len(row.choices):
            raise BadFile(path, f"an answer below {len(row.choices)} for question {id}", f"{row.answer}")
        context = f" Context: {row.hint.strip()}" if row.hint.strip() else ""
        options = " ".join(f"({chr(ord('A') + place)}) {choice}" for place, choice in enumerate(row.choices))
        yield {
            "question_id": id, "image": f"{row.split}/{id}/{row.image}", "split": row.split,
            "question": f"{row.question.strip()}{context} Options: {options}", "answer": row.choices[row.answer],
            "question_type": row.subject,
        }  # fmt: skip


class _VqaRad(msgspec.Struct):
    id: int | str = msgspec.field(name="qid")
    image: str = msgspec.field(name="image_name")
    question: str
    answer: str | int | float
    phrase_type: str
    question_type: str | None = None
    answer_type: str | None = None


def vqa_rad(path: Path) -> Iterable[Cells]:
    """[{"qid": 1, "phrase_type": "test_freeform", "image_name": "synpic54610.jpg", "answer": ..., ...}, ...]"""
    for row in read_json(path, list[_VqaRad]):
        yield {
            "question_id": row.id, "image": row.image, "question": row.question, "answer": row.answer,
            "split": "test" if row.phrase_type.startswith("test") else "train", "question_type": row.question_type,
            "answer_type": row.answer_type,
        }  # fmt: skip


class _FlickrImage(msgspec.Struct):
    filename: str
    split: str
    id: int = msgspec.field(name="imgid")
    sentences: list[dict[str, Any]]


class _FlickrFile(msgspec.Struct):
    images: list[_FlickrImage]


def flickr30k(path: Path) -> Iterable[Cells]:
    """Karpathy's file: {"images": [{"imgid": 0, "filename": "1.jpg", "split": "train", "sentences": [...]}]}"""
    document = read_json(path, _FlickrFile)
    for row in document.images:
        yield {"id": row.id, "image": row.filename, "split": row.split, "captions": row.sentences}


def nocaps(path: Path) -> Iterable[Cells]:
    """COCO's format of captions."""
    for row in read_captions(path):
        yield {"id": row["image_id"], "image": row["image"], "captions": list(row["captions"])}
