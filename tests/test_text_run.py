"""Complete runs of a text task with language models of random weights: what they write, and what loads into what."""

import dataclasses
import json
import shutil

import pytest
import torch

from dept_vl import AdaptedModel, load_adapter
from dept_vl.config import BadConfig, load_experiment
from dept_vl.data.tokenizer import WrongTokenizer
from dept_vl.run import Parts
from dept_vl.run.execute import run, run_each
from dept_vl.run.results import overview, summary
from dept_vl.run.saved import score_adapter
from dept_vl.serve.rows import WrongRows, WrongTask
from tests.tiny_models import write_tiny_gpt2, write_tiny_llama, write_tokenizer
from tests.tiny_runs import forget_accelerate, json_lines, text_experiment, tiny_experiment, write_cola


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_cola(tmp_path_factory.mktemp("glue"))


@pytest.fixture(scope="module")
def finished(data, byte_t5, tmp_path_factory):
    """The run folder of a CoLA run, and what `run` returned."""
    folder = tmp_path_factory.mktemp("runs") / "cola"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        forget_accelerate()
        yield folder, run(text_experiment(byte_t5, data, folder))
        forget_accelerate()


def test_a_text_run_leaves_the_same_files_as_any_other(finished):
    folder, _ = finished
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md", "adapter_config.json", "adapter_model.safetensors", "checkpoints", "config.yaml", "metrics.jsonl",
        "predictions.jsonl", "report.html", "results.json",
    ]  # fmt: skip
    assert 'model.classify([{"sentence": "..."}])' in (folder / "README.md").read_text()
    assert "projection" not in str(load_adapter(folder).state_dict().keys())


def test_the_result_names_protocol_selection_labels_and_a_constant_predictor(finished):
    _, results = finished
    test = results["metrics"]["test"]
    assert results["task"] == "cola" and results["protocol"] == test["protocol"] == "as_published"
    assert results["selection"] == {
        "metric": "matthews_correlation",
        "reported": "matthews_correlation",
        "split": "val",
    }
    assert results["labels"] == {"0": "unacceptable", "1": "acceptable"}
    assert set(results["baselines"]) == {"majority"} and results["baselines"]["majority"] == 0.0
    assert test["invalid_outputs"] == 0 and sum(results["answers"].values()) == 6
    counts = results["counts"]
    assert (counts["train"]["examples"], counts["eval"]["examples"], counts["test"]["examples"]) == (24, 6, 6)
    assert "vision" not in results["meta_info"]["model_info"]
    assert summary(results).startswith("cola: test matthews_correlation x 100 (as_published)\n")
    assert ("a constant predictor" in summary(results)) == (len(results["answers"]) == 1)


def test_the_config_of_a_run_says_what_the_task_decided(finished):
    task = load_experiment(finished[0] / "config.yaml").task
    assert (task.protocol, task.label_form, task.max_source_length, task.max_target_length) == (
        "as_published",
        "digits",
        40,
        10,
    )


def test_the_report_shows_texts_and_marks_them(finished):
    html = (finished[0] / "report.html").read_text()
    assert "sentence: The cat" in html and "matthews_correlation" in html and "acceptable" in html
    assert "CLIP" not in html.replace("none: text alone", "").split("What ran")[0]


def test_the_adapted_model_classifies_as_the_run_did(finished, byte_t5):
    model = AdaptedModel.from_pretrained(finished[0], backbone=byte_t5)
    rows = json_lines(finished[0] / "predictions.jsonl")
    names = {"0": "unacceptable", "1": "acceptable"}
    sentences = [row["text"].removeprefix("sentence: ") for row in rows]
    assert model.classify(sentences) == [names[row["prediction"]] for row in rows]
    assert model.classify([{"sentence": each} for each in sentences]) == model.classify(sentences)
    assert model.classify(sentences[:2], ["__base__", "default"])[1] == model.classify(sentences[1:2])[0]
    assert len(model.generate(sentences[:2])) == 2
    with pytest.raises(WrongRows, match="row 0: cola: wanted the field 'sentence', given text"):
        model.classify([{"text": "A cat."}])
    with pytest.raises(WrongRows, match="texts: wanted a list, one entry a row, given one str: put it in"):
        model.classify("A cat.")
    with pytest.raises(WrongTask, match=r"answer\(\): wanted an adapter for 'vqa', given 'default', one for 'cola'"):
        model.answer(None, ["A cat?"])


@pytest.mark.usefixtures("afresh")
def test_a_saved_adapter_scores_as_in_its_run(finished, data, byte_t5, tmp_path):
    folder, results = finished
    scored = score_adapter(
        str(folder), "cola", root=str(data), backbone=str(byte_t5), predictions=str(tmp_path / "p.jsonl")
    )
    test = results["metrics"]["test"]
    assert {name: scored[name] for name in test} == test and scored["answers"] == results["answers"]
    assert [row["prediction"] for row in json_lines(tmp_path / "p.jsonl")] == [
        row["prediction"] for row in json_lines(folder / "predictions.jsonl")
    ]


def test_predictions_that_cannot_be_written_are_told_before_the_adapter_is_read(tmp_path):
    with pytest.raises(IsADirectoryError, match="wanted a file to write, given a folder"):
        score_adapter("nowhere", "cola", predictions=str(tmp_path))


@pytest.mark.usefixtures("afresh")
def test_what_a_run_predicted_is_kept_when_its_scoring_fails(data, byte_t5, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ValueError("no score")

    monkeypatch.setattr(Parts, "score", fail)
    with pytest.raises(ValueError, match="no score"):
        run(text_experiment(byte_t5, data, tmp_path / "run", max_steps=1, eval_steps=0))
    assert len(json_lines(tmp_path / "run" / "predictions.jsonl")) == 6


@pytest.mark.usefixtures("afresh")
def test_free_decoding_counts_what_is_no_label(finished, data, byte_t5):
    scored = score_adapter(str(finished[0]), "cola", root=str(data), backbone=str(byte_t5), decoding="generate")
    assert torch.get_num_threads() == 1  # as it was trained
    assert scored["invalid_outputs"] == sum(n for text, n in scored["answers"].items() if text not in ("0", "1")) > 0


@pytest.mark.usefixtures("afresh")
def test_scoring_and_free_decoding_agree_wherever_the_free_answer_is_a_label(finished, data, byte_t5, tmp_path):
    path = str(tmp_path / "free.jsonl")
    score_adapter(
        str(finished[0]), "cola", root=str(data), backbone=str(byte_t5), decoding="generate", predictions=path
    )
    chosen = {row["id"]: row["prediction"] for row in json_lines(finished[0] / "predictions.jsonl")}
    valid = [row for row in json_lines(tmp_path / "free.jsonl") if row["prediction"] in ("0", "1")]
    assert all(chosen[row["id"]] == row["prediction"] for row in valid)


@pytest.mark.usefixtures("afresh")
def test_an_adapter_goes_from_text_to_pictures_and_back(finished, data, byte_t5, place, tmp_path):
    vision = {"feature_dir": str(place / "features")}
    seeing = tiny_experiment(byte_t5, place / "clip", place / "shapes", tmp_path / "vqa", vision=vision)
    adapter = dataclasses.replace(seeing.adapter, start={"from": str(finished[0])})
    seeing = dataclasses.replace(seeing, adapter=adapter, max_steps=1, eval_steps=0, optim=still(seeing.optim))
    results = run(seeing)
    assert "the visual projection starts anew: the source read no images" in results["started_from"]["not_copied"]
    assert_same_prompt(finished[0], tmp_path / "vqa")
    back = text_experiment(
        byte_t5, data, tmp_path / "back", adapter={"start": {"from": str(tmp_path / "vqa")}}, max_steps=1
    )
    results = run(dataclasses.replace(back, eval_steps=0, optim=still(back.optim)))
    assert "the visual projection stays behind: this task reads no images" in results["started_from"]["not_copied"]
    scored = score_adapter(str(tmp_path / "vqa"), "cola", root=str(data), backbone=str(byte_t5))
    assert scored["not_used"] == ["the visual projection: this task reads no images"] and scored["bf16"] is False
    with pytest.raises(WrongTask, match="wanted an adapter that reads images for vqa, given one of text alone"):
        score_adapter(str(finished[0]), "vqa", root=str(place / "shapes"), backbone=str(byte_t5))
    assert "stays behind" in summary(results) and "stays behind" in (tmp_path / "back" / "report.html").read_text()
    assert_same_prompt(tmp_path / "vqa", tmp_path / "back")


def still(optim):
    return dataclasses.replace(optim, lr=dict.fromkeys(optim.lr, 0.0))


def assert_same_prompt(one, other):
    prompts = [load_adapter(folder).fold().prompt for folder in (one, other)]
    rows = min(map(len, prompts))
    assert rows and torch.equal(prompts[0][:rows], prompts[1][:rows])


@pytest.mark.filterwarnings("ignore:.*not carried by the tokenizer:UserWarning")  # of a few words
@pytest.mark.usefixtures("afresh")
@pytest.mark.parametrize(("write", "end"), [(write_tiny_gpt2, "<|endoftext|>"), (write_tiny_llama, "</s>")])
def test_a_decoder_only_model_runs_the_same_way(write, end, data, tmp_path):
    folder = write(tmp_path / "model")
    causal = {"kind": "causal", "attn_implementation": None, "pad_token": end}
    results = run(text_experiment(folder, data, tmp_path / "run", backbone=causal))
    assert results["metrics"]["test"]["invalid_outputs"] == 0
    assert json.loads((tmp_path / "run" / "adapter_config.json").read_text())["task_type"] == "CAUSAL_LM"
    model = AdaptedModel.from_pretrained(tmp_path / "run", backbone=folder)
    rows = json_lines(tmp_path / "run" / "predictions.jsonl")
    names = {"0": "unacceptable", "1": "acceptable"}
    sentences = [row["text"].removeprefix("sentence: ") for row in rows]
    for _ in range(2):  # the prompt's keys and values are computed for the first batch and kept
        assert model.classify(sentences) == [names[row["prediction"]] for row in rows]
    assert model.backbone.prompt_cache.computed == 1


@pytest.mark.usefixtures("afresh")
def test_another_models_tokenizer_is_refused_in_prediction_too(finished, byte_t5, tmp_path):
    folder = shutil.copytree(byte_t5, tmp_path / "mixed")
    write_tokenizer(folder, ["a", "cat"], eos_token="</s>", pad_token="<pad>", unk_token="<unk>")
    with pytest.raises(WrongTokenizer, match="the tokenizer .*mixed is not this backbone's"):
        AdaptedModel.from_pretrained(finished[0], backbone=folder)


def test_a_published_split_with_rows_missing_is_told(finished):
    _, results = finished
    [warning] = [each for each in results["metrics"]["test"]["warnings"] if "published" in each]
    assert warning == "validation: 12 of the published 1,043 rows were read: this is not the published split"


def two_tasks(data, byte_t5, folder, **changes):
    """CoLA and SST-2, in one command."""
    (data / "SST-2").mkdir(exist_ok=True)
    for name in ("train", "dev"):
        rows = [f"a {'good' if place % 2 else 'dull'} film {place}\t{place % 2}" for place in range(20)]
        (data / "SST-2" / f"{name}.tsv").write_text("\n".join(["sentence\tlabel", *rows]) + "\n")
    return text_experiment(byte_t5, data, folder, task={"name": "cola,sst2"}, **{"eval_steps": 0, **changes})


@pytest.mark.usefixtures("afresh")
def test_several_tasks_run_one_after_another(data, byte_t5, tmp_path):
    config = two_tasks(data, byte_t5, tmp_path / "both", max_steps=1)
    done = list(run_each(config))
    assert [folder for folder, _ in done] == [str(tmp_path / "both" / name) for name in ("cola", "sst2")]
    whole = json.loads((tmp_path / "both" / "results.json").read_text())
    assert [each["task"] for each in whole["tasks"]] == ["cola", "sst2"]
    assert overview([results for _, results in done]).splitlines()[-1].startswith("mean of 2")
    with pytest.raises(ValueError, match=r"unknown task 'sst-2'.*Did you mean 'sst2'\?"):
        next(run_each(dataclasses.replace(config, task=dataclasses.replace(config.task, name="cola,sst-2"))))


def test_an_overview_has_captions_too():
    text = {"task": "cola", "selection": {"reported": "accuracy"}, "metrics": {"test": {"accuracy": 0.5}}}
    caption = {"task": "caption", "selection": {"reported": "CIDEr"}, "metrics": {"test": {"CIDEr": 1.5}}}
    lines = overview([{**text, "baselines": {"majority": 0.25}}, {**caption, "baselines": {"constant": 0.1}}])
    assert [line.split()[-2:] for line in lines.splitlines()[1:]] == [
        ["50.00", "25.00"],
        ["150.00", "-"],
        ["100.00", "-"],
    ]


@pytest.mark.usefixtures("afresh")
def test_several_tasks_go_on_where_one_of_them_was_stopped(data, byte_t5, tmp_path):
    config = two_tasks(data, byte_t5, tmp_path / "both", max_steps=2, save_steps=1)
    resumed = dataclasses.replace(config, resume_from_checkpoint="last")
    with pytest.raises(ValueError, match="wanted a checkpoint to resume from, given none"):
        next(run_each(resumed))
    forget_accelerate()
    whole = [results["metrics"]["test"] for _, results in run_each(config)]
    first, second = (tmp_path / "both" / name for name in ("cola", "sst2"))
    ended = (first / "results.json").read_bytes()
    shutil.rmtree(first / "checkpoints")  # this one has ended
    (second / "results.json").unlink()
    shutil.rmtree(second / "checkpoints" / "step_2")  # the other was stopped behind its first step
    forget_accelerate()
    assert [results["metrics"]["test"] for _, results in run_each(resumed)] == whole
    shutil.rmtree(second)  # and now it had not begun
    forget_accelerate()
    assert [results["metrics"]["test"] for _, results in run_each(resumed)] == whole
    assert (first / "results.json").read_bytes() == ended and not list((tmp_path / "both").glob("*.1"))


@pytest.mark.usefixtures("afresh")
def test_few_shot_runs_count_what_they_drew(data, byte_t5, tmp_path):
    config = text_experiment(byte_t5, data, tmp_path / "few", task={"k_shot": 2, "few_shot_val": "k"}, max_steps=1)
    counts = run(dataclasses.replace(config, eval_steps=0))["counts"]
    assert [counts[role]["examples"] for role in ("train", "eval", "test")] == [4, 4, 6]


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"protocol": "as_publish"}, r"cola: protocol: wanted one of .*as_publish'\. Did you mean 'as_published'\?"),
        ({"name": "caption", "protocol": "always"}, "captions have only coco-caption, given 'always'"),
        ({"name": "vqa", "k_shot": 4}, "task.k_shot: only text tasks have it, given 4 for vqa"),
        ({"name": "vqa", "label_form": "words"}, "task.label_form: only text tasks have it"),
        ({"template": "text: {text}"}, r"cola: wanted a template that uses \{sentence\}"),
        ({"root": "shapes"}, "'shapes' holds the generated tasks only, not cola: wanted a folder .*nyu-mll/glue"),
        ({"max_source_length": 0}, "max_source_length: wanted at least 2, given 0"),
        ({"k_shot": 4, "k_shot_total": 4}, "wanted one of them, given both"),
        ({"k_shot": 4, "train_split": "val", "test_split": "train"}, "test_split test, given val, val, train"),
        ({"k_shot": 13}, "13"),
    ],
)
@pytest.mark.usefixtures("afresh")
def test_impossible_text_settings_are_told_before_any_weight_loads(data, tmp_path, task, message):
    with pytest.raises(ValueError, match=message):
        run(text_experiment(tmp_path / "no-model", data, tmp_path / "run", task=task))
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore:.*not carried by the tokenizer:UserWarning")  # of a few words
@pytest.mark.usefixtures("afresh")
def test_rows_longer_than_the_models_positions_are_refused_at_the_start(data, tmp_path):
    folder = write_tiny_gpt2(tmp_path / "model")
    causal = {"kind": "causal", "attn_implementation": None, "pad_token": "<|endoftext|>"}
    with pytest.raises(BadConfig, match=r"wanted at most 96 tokens a row.* \+ 94 \(target\)"):  # told before training
        task = {"decoding": "generate", "max_target_length": 94}
        run(text_experiment(folder, data, tmp_path / "free", backbone=causal, task=task))
    adapter = {"name": "pt", "args": {"num_virtual_tokens": 4096}, "start": {"init": "RANDOM"}}
    with pytest.raises(BadConfig, match=r"wanted at most \d+ tokens a row.* given 4096 \(prompt\) \+"):
        run(text_experiment(folder, data, tmp_path / "run", backbone=causal, adapter=adapter))
