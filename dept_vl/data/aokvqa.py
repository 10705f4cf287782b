"""A-OKVQA. Schwenk et al., ECCV 2022, arXiv:2206.01718.

    {"split": "val", "image_id": 461751, "question_id": "22jbM6gDxdaMaunuzgrsBB",
     "question": "What is in the motorcyclist's mouth?", "direct_answers": ["cigarette", ... ten],
     "choices": [...], "correct_choice_idx": 3, "difficult_direct_answer": false, "rationales": [...]}

Quirks: question ids are strings; the ten direct answers carry no annotator id, and no question or answer
type; images are named by COCO id alone (of 2017, so the file may be called after train2014 or val2014).
The direct answers are scored here as VQA v2's are. Choices and rationales are not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dept_vl.data.annotation_files import BadAnnotation, field, read_json, ten_answers

COCO_ID = re.compile(r"(\d{12})\.(?:jpg|jpeg|png)", re.IGNORECASE)


def read_aokvqa(path: Path | str) -> list[dict[str, Any]]:
    """Rows of question_id (a string), image_id, question, answers; both types are None."""
    document = read_json(path, list)
    if not document:
        raise BadAnnotation(path, "at least one question", "an empty list")
    rows: dict[str, dict[str, Any]] = {}
    for i, entry in enumerate(document):
        place = ("questions", i)
        question_id = field(path, place, entry, "question_id", str)
        if question_id in rows:
            raise BadAnnotation(path, "every question_id once", f"{question_id!r} again at [{i}]")
        rows[question_id] = {
            "question_id": question_id,
            "image_id": field(path, place, entry, "image_id", int),
            "question": field(path, place, entry, "question", str),
            "answers": ten_answers(path, place, field(path, place, entry, "direct_answers", list)),
            "question_type": None,
            "answer_type": None,
        }
    return list(rows.values())


def names_by_coco_id(file_names: Iterable[str]) -> dict[int, str]:
    """COCO id to file name, for names that end in the twelve digits; of two names, the first by order."""
    found: dict[int, str] = {}
    for name in sorted(file_names):
        if match := COCO_ID.search(name):
            found.setdefault(int(match[1]), name)
    return found
