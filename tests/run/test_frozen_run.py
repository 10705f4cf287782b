"""A run in which nothing trains: the frozen model alone, with and without answered examples in front of a question."""

import dataclasses

import pytest
import torch
from transformers import AutoTokenizer, T5ForConditionalGeneration

from dept_vl.config import BadConfig
from dept_vl.run import assembly
from dept_vl.run.execute import run
from dept_vl.run.results import summary
from tests.tiny_runs import json_lines, text_experiment, tiny_experiment, write_cola

ALONE = {"max_steps": 0, "eval_steps": 0, "adapter": {"name": "none", "args": {}}}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_cola(tmp_path_factory.mktemp("glue"))


@pytest.fixture(scope="module")
def answer(byte_t5):
    """answer(text): the label that transformers' model finds more probable, without a line of ours."""
    model = T5ForConditionalGeneration.from_pretrained(byte_t5).eval()
    tokenizer = AutoTokenizer.from_pretrained(byte_t5)
    zero, one = (tokenizer(each, add_special_tokens=False)["input_ids"][0] for each in "01")

    @torch.no_grad()
    def answer(text):
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        logits = model(input_ids=ids, decoder_input_ids=torch.zeros(1, 1, dtype=torch.long)).logits[0, 0]
        return "01"[int(logits[one] > logits[zero])]

    return answer


@pytest.mark.usefixtures("afresh")
def test_the_frozen_model_answers_as_it_does_in_transformers(byte_t5, data, tmp_path, answer):
    results = run(text_experiment(byte_t5, data, tmp_path / "run", **ALONE))
    rows = json_lines(tmp_path / "run" / "predictions.jsonl")
    assert len(rows) == 6
    assert [row["prediction"] for row in rows] == [answer(row["text"]) for row in rows]
    assert (results["weights"]["trained"], results["train_info"]["file_size"]) == (0, 0)
    assert "trained 0 of" in summary(results)


@pytest.mark.usefixtures("afresh")
def test_it_leaves_a_report_and_no_adapter(byte_t5, data, tmp_path):
    run(text_experiment(byte_t5, data, tmp_path / "run", task={"num_fewshot": 2}, **ALONE))
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Frozen model, 2-shot on cola" in page and "Training curves" not in page
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "config.yaml", "metrics.jsonl", "predictions.jsonl", "report.html", "results.json",
    ]  # fmt: skip


@pytest.mark.usefixtures("afresh")
def test_demonstrations_stand_before_what_is_scored(byte_t5, data, tmp_path, answer, monkeypatch):
    seen, original = {}, assembly.demonstrated

    def demonstrated(examples, source, *more):
        shown = original(examples, source, *more)
        seen.update((each.id, each) for each in shown)
        assert len(source) == 24 and all(each.id.startswith("train-") for each in source)
        return shown

    monkeypatch.setattr(assembly, "demonstrated", demonstrated)
    run(text_experiment(byte_t5, data, tmp_path / "run", task={"num_fewshot": 2}, **ALONE))
    rows = json_lines(tmp_path / "run" / "predictions.jsonl")
    read = [seen[row["id"]].frame[0] + row["text"] for row in rows]
    assert all(text.count("sentence: ") == 3 for text in read)
    assert [row["prediction"] for row in rows] == [answer(text) for text in read]


@pytest.mark.usefixtures("afresh")
def test_no_demonstration_is_a_text_that_was_cut(byte_t5, data, tmp_path):
    with pytest.raises(ValueError, match="wanted at least 2 training examples, given 0 that are shorter"):
        task = {"num_fewshot": 2, "max_source_length": 12}
        run(text_experiment(byte_t5, data, tmp_path / "run", task=task, **ALONE))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_steps": 0, "eval_steps": 0}, "max_steps: wanted at least 1, since prompt, low_rank trains?, given 0"),
        ({**ALONE, "max_steps": 4}, "max_steps: wanted 0, since nothing trains, given 4"),
        ({**ALONE, "resume_from_checkpoint": "last"}, "max_steps: 0 scores a frozen model alone: wanted null for both"),
        ({**ALONE, "max_seconds": 3.0}, "max_steps: 0 scores a frozen model alone: .* max_seconds 3.0"),
        ({"task": {"num_fewshot": 2}}, r"task.num_fewshot: wanted 0 where .* given 2 with max_steps 4"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(byte_t5, data, tmp_path, changes, message):
    with pytest.raises(BadConfig, match=message):
        run(text_experiment(byte_t5, data, tmp_path / "run", **changes))


def test_a_task_with_images_has_neither(place, byte_t5, tmp_path):
    images = tiny_experiment(byte_t5, place / "clip", place / "data", tmp_path / "run", max_steps=0, eval_steps=0)
    images = dataclasses.replace(images, adapter=dataclasses.replace(images.adapter, name="none", args={}))
    with pytest.raises(BadConfig, match="max_steps: wanted at least 1, since projection trains, given 0"):
        run(images)
    shown = dataclasses.replace(images, task=dataclasses.replace(images.task, num_fewshot=1))
    with pytest.raises(BadConfig, match="task.num_fewshot: only text tasks have it, given 1 for vqa"):
        run(shown)
