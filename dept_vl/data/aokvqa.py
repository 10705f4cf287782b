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
from typing import Annotated, Any

import msgspec

from dept_vl.data.vqa2 import enough_answers
from dept_vl.metrics.vqa import FEWEST_ANSWERS
from dept_vl.untrusted.bad_file import BadFile
from dept_vl.untrusted.json_files import read_json

COCO_ID = re.compile(r"(\d{12})\.(?:jpg|jpeg|png)", re.IGNORECASE)


class AokvqaQuestion(msgspec.Struct):
    question_id: str
    image_id: int
    question: str
    direct_answers: list[str]


def read_aokvqa(path: Path, fewest: int = FEWEST_ANSWERS) -> list[dict[str, Any]]:
    """Rows of question_id (a string), image_id, question, answers, `fewest` or more; both types are None."""
    rows: dict[str, dict[str, Any]] = {}
    for number, entry in enumerate(read_json(path, Annotated[list[AokvqaQuestion], msgspec.Meta(min_length=1)])):
        if entry.question_id in rows:
            raise BadFile(path, "every question_id once", f"{entry.question_id!r} again at [{number}]")
        rows[entry.question_id] = {
            "question_id": entry.question_id,
            "image_id": entry.image_id,
            "question": entry.question,
            "answers": enough_answers(path, f"[{number}]", entry.direct_answers, fewest),
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
