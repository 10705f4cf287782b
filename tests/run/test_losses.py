"""What a run says of text that its tokenizer does not carry: refused, warned of, in results.json, printed."""

import dataclasses
import json

import pytest

from dept_vl.data.batches import EncodedExamples
from dept_vl.data.carried import LostText
from dept_vl.data.tokenizer import load_tokenizer
from dept_vl.registry import DeptVLWarning
from dept_vl.run.execute import run
from dept_vl.run.losses import loss_warnings, losses_as_json, tell_losses
from dept_vl.run.results import summary
from dept_vl.tasks import TASKS
from dept_vl.tasks.example import Example
from tests.data.tiny_tokenizers import write_llama


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """Of the letters of English, lower case and L."""
    return load_tokenizer(str(write_llama(tmp_path_factory.mktemp("llama"))), pad_token="</s>")


def encoded(tokenizer, *targets, role="train", max_target_length=30):
    rows = [Example(each, "the red", (each,), (1.0,), (each,)) for each in targets]
    sizes = {"max_source_length": 30, "max_target_length": max_target_length}
    return {role: EncodedExamples(rows, tokenizer, kind="seq2seq", trained=role == "train", **sizes)}


def test_answers_of_which_none_survives_are_not_trained_on(tokenizer):
    """The case "unknown characters" from the field."""
    lost = ("红色", "蓝色")
    with pytest.raises(
        LostText, match="train: targets: wanted .*, given 2 of which none survives .'红色' comes back as ''"
    ):
        tell_losses(TASKS["vqa"], tokenizer, encoded(tokenizer, *lost), warn=False)
    with pytest.warns(DeptVLWarning, match="test: targets: 100.0 % of 2 are not carried"):
        tell_losses(TASKS["vqa"], tokenizer, encoded(tokenizer, *lost, role="test"))
    with pytest.warns(DeptVLWarning, match="train: targets: 50.0 % of 2 are not carried"):
        tell_losses(TASKS["vqa"], tokenizer, encoded(tokenizer, "red", "红色"))
    tell_losses(TASKS["vqa"], tokenizer, encoded(tokenizer, "red"))


def test_labels_need_different_tokens_and_no_text_that_survives(tokenizer):
    words = dataclasses.replace(TASKS["cola"], label_form="words", label_names=("NO", "YES"))
    with pytest.warns(DeptVLWarning) as told:
        tell_losses(words, tokenizer, encoded(tokenizer, "NO", "YES"))
    assert [str(each.message).partition(":")[0] for each in told] == ["train", "cola"]
    tell_losses(TASKS["cola"], tokenizer, encoded(tokenizer, "0", "1"))


def test_answers_that_are_all_cut_are_told(tokenizer):
    with pytest.warns(DeptVLWarning, match="train: targets: all 2 are cut; raise task.max_target_length"):
        tell_losses(TASKS["vqa"], tokenizer, encoded(tokenizer, "red", "the", max_target_length=1))


def test_results_hold_the_losses_with_examples_and_the_summary_prints_them(tokenizer):
    some = encoded(tokenizer, "red", "Zed")
    told = json.loads(json.dumps(losses_as_json(some)))
    assert told["train"].keys() == {"targets"}
    assert told["train"]["targets"] | {"share": 0.5, "examples": [["Zed", "ed"]]} == told["train"]["targets"]
    assert loss_warnings(some) == [
        "train: targets: 50.0 % of 2 are not carried by the tokenizer: 'Zed' comes back as 'ed'"
    ]
    results = {
        "task": "vqa", "adapter": "dept", "protocol": "always", "baselines": {}, "recorded": [],
        "metrics": {"test": {"vqa_accuracy": 0.75}}, "selection": {"reported": "vqa_accuracy"},
        "started_from": {"folder": None, "not_copied": []}, "counts": {"train": some["train"].counts},
        "weights": {"trained": 1000, "total": 2000, "share": 0.5}, "train_info": {"train_time": 2.2},
    }  # fmt: skip
    told["train"]["targets"]["share"] = 0.005  # above a hundredth it stands among the warnings
    shown = summary(results | {"not_carried": told})
    assert "train: targets_unknown 1" in shown and "train: targets: 'Zed' comes back as 'ed'" in shown


@pytest.mark.usefixtures("afresh")
def test_a_run_whose_answers_do_not_survive_stops_before_it_trains(experiment, tmp_path, monkeypatch):
    monkeypatch.setattr("dept_vl.data.carried.survives", lambda text, back, normal: "?" in text)  # sources alone
    with pytest.raises(LostText, match="train: targets: wanted text that the tokenizer carries"):
        run(experiment())
    assert not (tmp_path / "run").exists()
