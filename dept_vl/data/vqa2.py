"""VQA v2, the official questions and annotations files.

    questions[i]    {"image_id": 71, "question": "Is this train headed ...?", "question_id": 71002}
    annotations[i]  {"question_type": "is this", "multiple_choice_answer": "from", "image_id": 71,
                     "answer_type": "other", "question_id": 71002,
                     "answers": [{"answer": "from", "answer_confidence": "maybe", "answer_id": 1}, ...]}

A quirk: no file says an image's name. It follows from `data_subtype` at the top ("train2014"):
COCO_train2014_000000000071.jpg.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dept_vl.data.annotation_files import BadAnnotation, Fields, entries, listed, read_entries, read_json, ten_answers
from dept_vl.data.image_files import check_file_name

Row = dict[str, Any]
_QUESTION = Fields(question=str, image_id=int, question_id=int)
_ANNOTATION = Fields(question_id=int, image_id=int, question_type=str, answer_type=str, answers=list)


def read_questions(path: Path | str) -> list[Row]:
    """Rows of question_id, image_id, question and image (file name; None when no subtype is stated)."""
    document = read_json(path, dict)
    subtype = document.get("data_subtype")
    if subtype is not None and not (isinstance(subtype, str) and re.fullmatch(r"\w+", subtype)):
        raise BadAnnotation(path, "a data_subtype such as 'train2014'", f"{subtype!r:.80}")
    names: dict[int, str] = {}  # one string an image
    rows = []
    for i, entry in enumerate(entries(path, document, "questions")):
        question, image_id, question_id = _QUESTION(path, ("questions", i), entry)
        if not question.strip():
            raise BadAnnotation(path, f"a question at questions[{i}]", repr(question))
        if subtype and image_id not in names:
            names[image_id] = image_name(path, subtype, image_id)
        rows.append(
            {
                "question_id": question_id,
                "image_id": image_id,
                "question": question,
                "image": names.get(image_id),
            }
        )
    _refuse_duplicates(path, rows)
    return rows


def read_annotations(path: Path | str) -> list[Row]:
    """Rows of question_id, image_id, question_type, answer_type and answers (ten raw strings)."""
    rows = []
    for i, entry in enumerate(read_entries(path, "annotations")):
        place = ("annotations", i)
        question_id, image_id, question_type, answer_type, answers = _ANNOTATION(path, place, entry)
        rows.append(
            {
                "question_id": question_id,
                "image_id": image_id,
                "question_type": sys.intern(question_type),
                "answer_type": sys.intern(answer_type),
                "answers": ten_answers(path, place, _strings(answers)),
            }
        )
    _refuse_duplicates(path, rows)
    return rows


def join(question_files: Sequence[Path], annotation_files: Sequence[Path]) -> list[Row]:
    """Each question with its annotation, in the order of the questions files.

    Raises: BadAnnotation for an id that occurs twice, in one file or across files, for a question without
    annotation or the other way round, and where the two disagree about the image.
    """
    annotations: dict[int, Row] = {}
    for path in annotation_files:
        _add(path, read_annotations(path), annotations)
    questions: dict[int, Row] = {}
    for path in question_files:
        rows = read_questions(path)
        _add(path, rows, questions)
        lonely = [row["question_id"] for row in rows if row["question_id"] not in annotations]
        if lonely:
            wanted = f"an annotation for every question in {', '.join(map(str, annotation_files))}"
            raise BadAnnotation(path, wanted, f"none for question_id {listed(lonely)}")
        for row in rows:
            annotation = annotations.pop(row["question_id"])
            if annotation["image_id"] != row["image_id"]:
                given = f"{annotation['image_id']} in its annotation"
                raise BadAnnotation(path, f"image_id {row['image_id']} for {row['question_id']}", given)
            row.update(annotation)
    if annotations:
        wanted = f"a question for every annotation in {', '.join(map(str, question_files))}"
        files = ", ".join(map(str, annotation_files))
        raise BadAnnotation(files, wanted, f"none for question_id {listed(annotations)}")
    return list(questions.values())


def image_name(file: Path | str, subtype: str, image_id: int) -> str:
    """COCO's file name of 2014: twelve digits behind the subtype."""
    return check_file_name(file, f"COCO_{subtype}_{image_id:012d}.jpg")


def _strings(answers: list) -> list:
    """The strings of answer objects, equal ones shared, as answers repeat; other entries stay, for `ten_answers`."""
    try:
        return [sys.intern(answer["answer"]) for answer in answers]
    except (TypeError, KeyError):
        return [answer.get("answer") if type(answer) is dict else answer for answer in answers]


def _refuse_duplicates(path: Path | str, rows: list[Row]) -> None:
    if len({row["question_id"] for row in rows}) == len(rows):
        return
    seen: set[int] = set()
    twice = [row["question_id"] for row in rows if row["question_id"] in seen or seen.add(row["question_id"])]
    raise BadAnnotation(path, "every question_id once", f"repeated question_id {listed(twice)}")


def _add(path: Path, rows: list[Row], to: dict[int, Row]) -> None:
    twice = [row["question_id"] for row in rows if row["question_id"] in to]
    if twice:
        raise BadAnnotation(path, "every question_id once", f"also in an earlier file: {listed(twice)}")
    to.update((row["question_id"], row) for row in rows)
