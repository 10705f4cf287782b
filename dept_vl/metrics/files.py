"""Scoring a finished results file against the official annotation files, with no model and no images.

    VQA results       [{"question_id": 71002, "answer": "yes"}, ...]
    VQA questions     {"questions": [{"question_id": 71002, ...}, ...], ...}
    VQA annotations   {"annotations": [{"question_id": 71002, "question_type": "is this",
                       "answer_type": "yes/no", "answers": [{"answer": "yes", ...}, ...], ...}, ...], ...}
    caption results   [{"image_id": 71, "caption": "a train"}, ...]
    captions          {"images": [{"id": 71, ...}, ...], "annotations": [{"image_id": 71, "id": 1,
                       "caption": "A train."}, ...], ...}

Any of them may be gzipped, whatever its name says. Ids are whole numbers or strings, compared as they stand.
"""

from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from dept_vl.metrics.answers import AUTO, TooManyAnswers, check_for, choose_score, score_answers
from dept_vl.metrics.captions import score_captions
from dept_vl.metrics.ids import ItemId, in_order
from dept_vl.metrics.vqa import TooFewAnswers
from dept_vl.untrusted.bad_file import BadFile, listed
from dept_vl.untrusted.json_files import read_entries, read_json


class PredictedAnswer(msgspec.Struct):
    question_id: ItemId
    answer: str


class AskedQuestion(msgspec.Struct):
    question_id: ItemId


class GivenAnswer(msgspec.Struct):
    answer: str


class AnsweredQuestion(msgspec.Struct):
    question_id: ItemId
    question_type: str
    answer_type: str
    answers: list[GivenAnswer]


class PredictedCaption(msgspec.Struct):
    image_id: ItemId
    caption: str


class ReferenceCaption(msgspec.Struct):
    image_id: ItemId
    caption: str
    id: ItemId | UnsetType = UNSET


class ReferenceImage(msgspec.Struct):
    id: ItemId


class ReferenceFile(msgspec.Struct):
    annotations: list[ReferenceCaption]
    images: list[ReferenceImage] | UnsetType = UNSET  # files cut down to their captions go without


def score_vqa_files(
    results: Path,
    questions: Path,
    annotations: Path,
    protocol: Literal["official-2021", "official-2017", "always"] = "official-2021",
    score: Literal[
        "auto", "vqa_accuracy", "exact_match", "best_match", "token_f1", "anls", "relaxed_accuracy"
    ] = "auto",
) -> dict[str, Any]:
    """VQA accuracy, or another score that suits the answers, in all and by answer and question type.

    Args:
        results: [{"question_id": 71002, "answer": "yes"}, ...], one answer for every question.
        questions: The official questions file, such as v2_OpenEnded_mscoco_val2014_questions.json.
        annotations: The official annotations file, such as v2_mscoco_val2014_annotations.json.
        protocol: What is normalised before comparing. official-2021: both sides, unless the answers to the
            question are all equal. official-2017: the prediction, and of the answers only their punctuation
            (as VL-T5 and LAVIS score). always: both sides, always. Of VQA accuracy only.
        score: auto goes by the answers: vqa_accuracy (the leave-one-out mean of min(1, n/3)) where every question has
            four or more, exact_match where every one has one, else best_match. Or one of these, token_f1, anls or
            relaxed_accuracy by name.

    Raises: BadFile, also for a question whose answers the score cannot take; MissingPrediction, UnknownName.
    """
    given = read_json(results, list[PredictedAnswer])
    _check_once(results, "question_id", [each.question_id for each in given])
    asked = [each.question_id for each in read_entries(questions, "questions", AskedQuestion)]
    _check_once(questions, "question_id", asked)
    rows = list(read_entries(annotations, "annotations", AnsweredQuestion))
    answered = [each.question_id for each in rows]
    _check_once(annotations, "question_id", answered)
    _check_all_in(questions, "an annotation for every question", asked, answered)
    _check_all_in(annotations, "a question for every annotation", answered, asked)
    chosen: str = score
    if score == AUTO and rows:
        chosen = choose_score({max(len(row.answers), 1) for row in rows})
    return score_answers(
        chosen,
        {each.question_id: each.answer for each in given},
        {row.question_id: _answers(annotations, row, chosen) for row in rows},
        {row.question_id: row.question_type for row in rows},
        {row.question_id: row.answer_type for row in rows},
        protocol,
    )


def score_caption_files(results: Path, annotations: Path) -> dict[str, Any]:
    """Bleu_1 .. Bleu_4, METEOR, ROUGE_L and CIDEr; SPICE where its models are installed.

    Args:
        results: [{"image_id": 71, "caption": "a train"}, ...], one caption for every image.
        annotations: The official captions file of exactly these images, such as captions_val2017.json.

    Raises: BadFile, MissingPrediction.
    """
    given = read_json(results, list[PredictedCaption])
    _check_once(results, "image_id", [each.image_id for each in given])
    predictions = {each.image_id: each.caption for each in given}
    return score_captions(predictions, read_references(annotations))


def read_references(file: Path) -> dict[ItemId, list[str]]:
    """All captions of each image of a COCO captions file, in the file's order. Raises: BadFile."""
    document = read_json(file, ReferenceFile)
    references: dict[ItemId, list[str]] = {}
    for row in document.annotations:
        references.setdefault(row.image_id, []).append(row.caption)
    _check_once(file, "id", [row.id for row in document.annotations if row.id is not UNSET])
    if document.images is not UNSET:
        images = [image.id for image in document.images]
        _check_once(file, "id", images)
        _check_all_in(file, "a caption for every image", images, references)
        _check_all_in(file, "an image for every caption", references, images)
    return references


def _answers(file: Path, row: AnsweredQuestion, score: str) -> list[str]:
    answers = [each.answer for each in row.answers]
    try:
        check_for(score, answers)
    except (TooFewAnswers, TooManyAnswers) as error:
        raise BadFile(file, f"questions that {score} can score", f"question {row.question_id!r}: {error}") from error
    return answers


def _check_once(file: Path, key: str, ids: Collection[ItemId]) -> None:
    if twice := [item for item, times in Counter(ids).items() if times > 1]:
        raise BadFile(file, f"every {key} once", f"repeated: {listed(in_order(twice))}")


def _check_all_in(file: Path, wanted: str, ids: Collection[ItemId], among: Collection[ItemId]) -> None:
    if unmatched := set(ids).difference(among):
        raise BadFile(file, wanted, f"none for {listed(in_order(unmatched))} of {len(ids):,}")
