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
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, Literal

from dept_vl.metrics.captions import score_captions
from dept_vl.metrics.ids import ItemId, first_ids
from dept_vl.metrics.vqa import score_vqa
from dept_vl.untrusted.gzip_bytes import BadGzip, unpack
from dept_vl.untrusted.json_text import NotJson, parse_json

_GZIP = b"\x1f\x8b"
_JSON_NAMES = {dict: "an object", list: "a list", str: "a string", type(None): "null", bool: "true or false"}

Entry = dict[str, Any]


class BadFile(ValueError):
    """A results or annotation file breaks its format: names the file, the wanted and the given."""

    def __init__(self, file: Path, wanted: str, given: str) -> None:
        super().__init__(file, wanted, given)

    def __str__(self) -> str:
        file, wanted, given = self.args
        return f"{file}: wanted {wanted}, given {given}"


def score_vqa_files(
    results: Path,
    questions: Path,
    annotations: Path,
    protocol: Literal["official-2021", "official-2017", "always"] = "official-2021",
) -> dict[str, Any]:
    """VQA accuracy, the leave-one-out mean of min(1, n/3), in all and by answer and question type.

    Args:
        results: [{"question_id": 71002, "answer": "yes"}, ...], one answer for every question.
        questions: The official questions file, such as v2_OpenEnded_mscoco_val2014_questions.json.
        annotations: The official annotations file, such as v2_mscoco_val2014_annotations.json.
        protocol: What is normalised before comparing. official-2021: both sides, unless the answers to the
            question are all equal. official-2017: the prediction, and of the answers only their punctuation
            (as VL-T5 and LAVIS score). always: both sides, always.

    Raises: BadFile, MissingPrediction, UnknownName.
    """
    given = _entries(results, read_json(results), None)
    predictions = _by_id(results, given, "question_id", "answer")
    asked = _ids(questions, _entries(questions, read_json(questions), "questions"), "question_id")
    rows = _entries(annotations, read_json(annotations), "annotations")
    answered = _ids(annotations, rows, "question_id")
    _all_in(questions, "an annotation for every question", asked, answered)
    _all_in(annotations, "a question for every annotation", answered, asked)
    return score_vqa(
        predictions,
        {key: _answers(annotations, row) for key, row in zip(answered, rows, strict=True)},
        _by_id(annotations, rows, "question_id", "question_type"),
        _by_id(annotations, rows, "question_id", "answer_type"),
        protocol,
    )


def score_caption_files(results: Path, annotations: Path) -> dict[str, Any]:
    """Bleu_1 .. Bleu_4, METEOR, ROUGE_L and CIDEr; SPICE where its models are installed.

    Args:
        results: [{"image_id": 71, "caption": "a train"}, ...], one caption for every image.
        annotations: The official captions file of exactly these images, such as captions_val2017.json.

    Raises: BadFile, MissingPrediction.
    """
    given = _entries(results, read_json(results), None)
    predictions = _by_id(results, given, "image_id", "caption")
    return score_captions(predictions, read_references(annotations)).as_dict()


def read_references(file: Path) -> dict[ItemId, list[str]]:
    """All captions of each image of a COCO captions file, in the file's order. Raises: BadFile."""
    document = read_json(file)
    rows = _entries(file, document, "annotations")
    references: dict[ItemId, list[str]] = {}
    for row in rows:
        references.setdefault(_id(file, row, "image_id"), []).append(_text(file, row, "caption"))
    _ids(file, [row for row in rows if "id" in row], "id")
    if "images" in document:  # files cut down to their captions go without
        images = _ids(file, _entries(file, document, "images"), "id")
        _all_in(file, "a caption for every image", images, references)
        _all_in(file, "an image for every caption", references, images)
    return references


def read_json(file: Path) -> Any:
    """The value in a JSON file, plain or gzipped. Raises: BadFile, also for a file cut in the middle."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise BadFile(file, "a readable file", error.strerror or str(error)) from error
    try:
        text = (unpack(data) if data.startswith(_GZIP) else data).decode("utf-8-sig")
    except BadGzip as error:
        raise BadFile(file, "a whole gzip file", f"{error}") from error
    except UnicodeDecodeError as error:
        raise BadFile(file, "UTF-8 text", f"other bytes ({error})") from error
    try:
        return parse_json(text)
    except NotJson as error:
        raise BadFile(file, "a whole JSON file", f"one {error}") from error


def _entries(file: Path, value: Any, key: str | None) -> list[Entry]:
    """The list of objects under `key`, or at the top where there is none."""
    place = "at the top"
    if key is not None:
        if not isinstance(value, dict):
            raise BadFile(file, f"an object with the key {key!r} at the top", _json_name(value))
        if key not in value:
            raise BadFile(file, f"the key {key!r} at the top", f"only {list(value)}")
        value, place = value[key], f"under {key!r}"
    if not isinstance(value, list):
        raise BadFile(file, f"a list of objects {place}", _json_name(value))
    for i, entry in enumerate(value):
        if not isinstance(entry, dict):
            raise BadFile(file, f"only objects in the list {place}", f"{_json_name(entry)} at [{i}]")
    return value


def _by_id(file: Path, rows: list[Entry], id_key: str, text_key: str) -> dict[ItemId, str]:
    return {key: _text(file, row, text_key) for key, row in zip(_ids(file, rows, id_key), rows, strict=True)}


def _ids(file: Path, rows: Iterable[Entry], key: str) -> list[ItemId]:
    """The ids under `key`, one per row, each once."""
    ids = [_id(file, row, key) for row in rows]
    twice = [item for item, times in Counter(ids).items() if times > 1]
    if twice:
        raise BadFile(file, f"every {key} once", f"{len(twice):,} repeated{first_ids(twice)}")
    return ids


def _id(file: Path, row: Entry, key: str) -> ItemId:
    value = _field(file, row, key)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise BadFile(file, f"a whole number or a string as {key}", f"{value!r:.80}")
    return value


def _text(file: Path, row: Entry, key: str) -> str:
    value = _field(file, row, key)
    if not isinstance(value, str):
        raise BadFile(file, f"a string as {key}", f"{_json_name(value)} in {row!r:.120}")
    return value


def _field(file: Path, row: Entry, key: str) -> Any:
    if key not in row:
        raise BadFile(file, f"the key {key!r} in every entry", f"an entry without: {row!r:.120}")
    return row[key]


def _answers(file: Path, row: Entry) -> list[str]:
    given = _field(file, row, "answers")
    if not isinstance(given, list) or not given or not all(isinstance(answer, dict) for answer in given):
        raise BadFile(file, f"a list of answer objects for question {row['question_id']}", f"{given!r:.120}")
    return [_text(file, answer, "answer") for answer in given]


def _all_in(file: Path, wanted: str, ids: Collection[ItemId], among: Collection[ItemId]) -> None:
    lonely = set(ids).difference(among)
    if lonely:
        raise BadFile(file, wanted, f"none for {len(lonely):,} of {len(ids):,}{first_ids(lonely)}")


def _json_name(value: Any) -> str:
    return _JSON_NAMES.get(type(value), "a number")
