"""Results files in the official formats: scored when whole, refused with file, wanted and given when not."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from dept_vl.metrics.files import read_references, score_caption_files, score_vqa_files
from dept_vl.metrics.ids import MissingPrediction
from dept_vl.untrusted.bad_file import BadFile

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"


def write(folder: Path, name: str, value: Any) -> Path:
    path = folder / name
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def annotation(key: int, answers: list[str], kind: str = "other") -> dict:
    given = [{"answer": a, "answer_confidence": "yes", "answer_id": i + 1} for i, a in enumerate(answers)]
    return {"question_id": key, "image_id": 7, "question_type": "what", "answer_type": kind, "answers": given}


@pytest.fixture
def vqa(tmp_path) -> dict[str, Path]:
    rows = [annotation(70, ["yes"] * 10, "yes/no"), annotation(71, ["two"] * 2 + ["3"] * 8, "number")]
    questions = [{"question_id": key, "image_id": 7, "question": "What?"} for key in (70, 71)]
    results = [{"question_id": 71, "answer": "2"}, {"question_id": 70, "answer": "yes"}]
    return {
        "results": write(tmp_path, "R.json", results),
        "questions": write(tmp_path, "Q.json", {"info": {}, "questions": questions}),
        "annotations": write(tmp_path, "A.json.gz", {"info": {}, "annotations": rows}),
    }


@pytest.fixture
def caption(tmp_path) -> dict[str, Path]:
    captions = [(7, 1, "A dog."), (7, 2, "a brown dog"), (8, 3, "two cats")]
    rows = [{"image_id": image, "id": key, "caption": text} for image, key, text in captions]
    results = [{"image_id": 8, "caption": "two cats"}, {"image_id": 7, "caption": "a dog"}]
    return {
        "results": write(tmp_path, "R.json", results),
        "annotations": write(tmp_path, "C.json", {"images": [{"id": 8}, {"id": 7}], "annotations": rows}),
    }


def test_vqa_files_are_scored_under_the_named_protocol(vqa):
    score = score_vqa_files(**vqa)
    assert score == {
        "vqa_accuracy": 0.8,
        "protocol": "official-2021",
        "by_answer_type": {"number": 0.6, "yes/no": 1.0},
        "by_question_type": {"what": 0.8},
    }
    assert score_vqa_files(**vqa, protocol="official-2017")["vqa_accuracy"] == 0.5


def test_caption_files_are_scored_flat(caption, no_java):
    score = score_caption_files(**caption)
    assert {"Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "ROUGE_L", "CIDEr", "tokenizer"} <= set(score)
    assert score["ROUGE_L"] == 1.0 and score["tokenizer"] == "python"
    assert read_references(caption["annotations"]) == {7: ["A dog.", "a brown dog"], 8: ["two cats"]}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_questions_with_fewer_than_four_answers_are_refused(vqa, tmp_path, number):
    rows = [annotation(70, ["yes"] * 10), annotation(71, ["two"] * number)]
    vqa["annotations"] = write(tmp_path, "few.json", {"annotations": rows})
    with pytest.raises(BadFile, match=f"few.json: .* question 71: wanted at least 4 .* given {number} "):
        score_vqa_files(**vqa, score="vqa_accuracy")
    assert "best_match" in score_vqa_files(**vqa)


@pytest.mark.parametrize(("number", "score"), [(1, "exact_match"), (3, "best_match")])
def test_the_cases_from_the_field_get_the_score_that_suits_them(number, score):
    if not CASES.is_dir():
        pytest.skip("skipped: no ../shared")
    files = [CASES / "vqa_few_answers" / f"{kind}{number}.json" for kind in "rqa"]
    with pytest.raises(BadFile, match=f"a{number}.json: .* wanted at least 4 reference answers"):
        score_vqa_files(*files, score="vqa_accuracy")
    assert score_vqa_files(*files)[score] == 1


VQA_BREAKS = {
    "results cut": (
        "results",
        b'[{"question_id": 70, "ans',
        "wanted a whole JSON file, given one cut or broken",
    ),
    "gzip cut": (
        "results",
        gzip.compress(b"[1, 2, 3]" * 99, mtime=0)[:-9],
        "wanted a whole gzip file, given a cut or broken",
    ),
    "not text": ("results", b"\xff\xfe\xff", "wanted"),
    "results an object": ("results", {"a": 1}, "`array`, got `object`"),
    "results of numbers": (
        "results",
        [70],
        r"`object`, got `int` - at `\$\[0\]`",
    ),
    "no answer": (
        "results",
        [{"question_id": 70}],
        r"`answer` - at `\$\[0\]`",
    ),
    "answer a number": (
        "results",
        [{"question_id": 70, "answer": 2}],
        r"`str`, got `int` - at `\$\[0\]\.answer`",
    ),
    "id a truth": (
        "results",
        [{"question_id": True, "answer": "a"}],
        r"`int \| str`, got `bool` - at `\$\[0\]\.question_id`",
    ),
    "twice": (
        "results",
        [{"question_id": 70, "answer": "a"}] * 2,
        r"wanted every question_id once, given repeated: 1 \(70\)",
    ),
    "questions a list": (
        "questions",
        [],
        "`object`, got `array`",
    ),
    "questions of captions": (
        "questions",
        {"images": []},
        "`questions`",
    ),
    "questions twice": (
        "questions",
        {"questions": [{"question_id": 70}] * 2},
        "wanted every question_id once",
    ),
    "question alone": (
        "questions",
        {"questions": [{"question_id": key} for key in (70, 71, 72)]},
        r"wanted an annotation for every question, given none for 1 \(72\) of 3",
    ),
    "annotation alone": (
        "questions",
        {"questions": [{"question_id": 71}]},
        r"wanted a question for every annotation, given none for 1 \(70\) of 2",
    ),
    "annotations twice": (
        "annotations",
        {"annotations": [annotation(70, ["a"] * 4), annotation(70, ["b"] * 4)]},
        r"wanted every question_id once, given repeated: 1 \(70\)",
    ),
    "no answers": (
        "annotations",
        {"annotations": [annotation(70, []), annotation(71, ["a"] * 4)]},
        "question 70: wanted at least 1 reference answer .* given 0",
    ),
    "bare answers": (
        "annotations",
        {"annotations": [annotation(70, ["a"]) | {"answers": ["a"]}, annotation(71, ["a"])]},
        r"annotations\[0\].*`object`, got `str` - at `\$\.answers\[0\]`",
    ),
}


@pytest.mark.parametrize("name", VQA_BREAKS)
def test_a_broken_vqa_file_is_named_with_wanted_and_given(name, vqa):
    which, value, message = VQA_BREAKS[name]
    vqa[which].write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
    with pytest.raises(BadFile, match=message) as error:
        score_vqa_files(**vqa)
    named = vqa["annotations"] if name == "annotation alone" else vqa[which]
    assert str(error.value).startswith(f"{named}: wanted ")


CAPTION_BREAKS = {
    "results twice": (
        "results",
        [{"image_id": 7, "caption": "a"}] * 2,
        r"every image_id once, given repeated: 1 \(7\)",
    ),
    "no caption": ("results", [{"image_id": 7, "answer": "a"}], "`caption`"),
    "caption null": ("results", [{"image_id": 7, "caption": None}], r"`str`, got `null` - at `\$\[0\]\.caption`"),
    "image alone": (
        "annotations",
        {"images": [{"id": 7}, {"id": 9}], "annotations": [{"image_id": 7, "id": 1, "caption": "a"}]},
        r"wanted a caption for every image, given none for 1 \(9\) of 2",
    ),
    "caption alone": (
        "annotations",
        {"images": [{"id": 7}], "annotations": [{"image_id": i, "id": i, "caption": "a"} for i in (7, 8)]},
        r"wanted an image for every caption, given none for 1 \(8\) of 2",
    ),
    "caption ids twice": (
        "annotations",
        {"annotations": [{"image_id": 7, "id": 1, "caption": "a"}] * 2},
        r"wanted every id once, given repeated: 1 \(1\)",
    ),
}


@pytest.mark.parametrize("name", CAPTION_BREAKS)
def test_a_broken_caption_file_is_named_with_wanted_and_given(name, caption):
    which, value, message = CAPTION_BREAKS[name]
    caption[which].write_text(json.dumps(value))
    with pytest.raises(BadFile, match=message) as error:
        score_caption_files(**caption)
    assert str(error.value).startswith(f"{caption[which]}: wanted ")


def test_a_missing_prediction_or_file_is_an_error(vqa, caption, tmp_path):
    with pytest.raises(MissingPrediction, match="each of 2 image ids, given 0: missing 2 \\(7, 8\\), unknown 0"):
        score_caption_files(write(tmp_path, "E.json", []), caption["annotations"])
    vqa["results"].write_text('[{"question_id": "70", "answer": "yes"}]')
    with pytest.raises(MissingPrediction, match="missing 2 \\(70, 71\\), unknown 1 \\('70'\\)"):
        score_vqa_files(**vqa)
    with pytest.raises(BadFile, match="absent.json: wanted a readable file"):
        score_caption_files(tmp_path / "absent.json", caption["annotations"])
