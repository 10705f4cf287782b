"""Read VQA v2: the official questions and annotations files.

    questions[i]    {"image_id": 71, "question": "Is this train headed ...?", "question_id": 71002}
    annotations[i]  {"question_type": "is this", "multiple_choice_answer": "from", "image_id": 71,
                     "answer_type": "other", "question_id": 71002,
                     "answers": [{"answer": "from", "answer_confidence": "maybe", "answer_id": 1}, ...]}

A quirk: no file says an image's name. It follows from `data_subtype` at the top ("train2014"):
COCO_train2014_000000000071.jpg.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec

from dept_vl.metrics.vqa import FEWEST_ANSWERS, TooFewAnswers, check_answers
from dept_vl.untrusted.bad_file import BadFile, listed
from dept_vl.untrusted.json_files import read_entries, read_json
from dept_vl.untrusted.paths import check_file_name

Row = dict[str, Any]


class VqaQuestion(msgspec.Struct, gc=False):
    question_id: int
    image_id: int
    question: Annotated[str, msgspec.Meta(pattern=r"\S")]


class VqaQuestionFile(msgspec.Struct):
    questions: Annotated[list[VqaQuestion], msgspec.Meta(min_length=1)]
    data_subtype: Annotated[str, msgspec.Meta(pattern=r"^\w+$")] | None = None


class AnnotatorsAnswer(msgspec.Struct, gc=False):
    answer: str


class VqaAnnotation(msgspec.Struct):
    question_id: int
    image_id: int
    question_type: str
    answer_type: str
    answers: list[AnnotatorsAnswer]


def read_questions(path: Path) -> list[Row]:
    """Rows of question_id, image_id, question and image (file name; None when no subtype is stated)."""
    document = read_json(path, VqaQuestionFile)
    subtype, names = document.data_subtype, {}  # one string an image
    rows = []
    for entry in document.questions:
        if subtype and entry.image_id not in names:
            names[entry.image_id] = image_name(path, subtype, entry.image_id)
        rows.append(
            {
                "question_id": entry.question_id,
                "image_id": entry.image_id,
                "question": entry.question,
                "image": names.get(entry.image_id),
            }
        )
    return rows


def read_annotations(path: Path, fewest: int = FEWEST_ANSWERS) -> list[Row]:
    """Rows of question_id, image_id, question_type, answer_type and answers (raw strings, ten in VQA v2), `fewest` or
    more of them."""
    return [
        {
            "question_id": entry.question_id,
            "image_id": entry.image_id,
            "question_type": sys.intern(entry.question_type),
            "answer_type": sys.intern(entry.answer_type),
            "answers": enough_answers(
                path, f"annotations[{number}]", [sys.intern(each.answer) for each in entry.answers], fewest
            ),
        }
        for number, entry in enumerate(read_entries(path, "annotations", VqaAnnotation))
    ]


def enough_answers(file: Path, place: str, answers: Sequence[str], fewest: int = FEWEST_ANSWERS) -> tuple[str, ...]:
    """The answers of one question. Raises: BadFile for fewer than the score needs, four for VQA accuracy."""
    try:
        check_answers(answers, fewest)
    except TooFewAnswers as error:
        raise BadFile(file, "questions that can be scored", f"{place}: {error}") from error
    return tuple(answers)


def join(question_files: Sequence[Path], annotation_files: Sequence[Path], fewest: int = FEWEST_ANSWERS) -> list[Row]:
    """Each question with its annotation, in the order of the questions files. fewest: answers that each must have.

    Raises: BadFile for an id that occurs twice, in one file or across files, for a question without
    annotation or the other way round, and where the two disagree about the image.
    """
    annotations: dict[int, Row] = {}
    for path in annotation_files:
        _add(path, read_annotations(path, fewest), annotations)
    questions: dict[int, Row] = {}
    for path in question_files:
        rows = read_questions(path)
        _add(path, rows, questions)
        if unanswered := [row["question_id"] for row in rows if row["question_id"] not in annotations]:
            wanted = f"an annotation for every question in {', '.join(map(str, annotation_files))}"
            raise BadFile(path, wanted, f"none for question_id {listed(unanswered)}")
        for row in rows:
            annotation = annotations.pop(row["question_id"])
            if annotation["image_id"] != row["image_id"]:
                given = f"{annotation['image_id']} in its annotation"
                raise BadFile(path, f"image_id {row['image_id']} for question_id {row['question_id']}", given)
            row.update(annotation)
    if annotations:
        wanted = f"a question for every annotation in {', '.join(map(str, question_files))}"
        files = ", ".join(map(str, annotation_files))
        raise BadFile(files, wanted, f"none for question_id {listed(annotations)}")
    return list(questions.values())


def image_name(file: Path, subtype: str, image_id: int) -> str:
    """COCO's file name of 2014: twelve digits behind the subtype."""
    return check_file_name(file, f"COCO_{subtype}_{image_id:012d}.jpg")


def _add(path: Path, rows: list[Row], to: dict[int, Row]) -> None:
    """Raises: BadFile for an id that is in `rows` twice, or in `to` already."""
    before = len(to)
    if again := [row["question_id"] for row in rows if row["question_id"] in to]:
        raise BadFile(path, "every question_id once", f"also in an earlier file: {listed(again)}")
    to.update((row["question_id"], row) for row in rows)
    if len(to) - before < len(rows):
        counts = Counter(row["question_id"] for row in rows)
        twice = [id for id, times in counts.items() if times > 1]
        raise BadFile(path, "every question_id once", f"repeated question_id {listed(twice)}")
