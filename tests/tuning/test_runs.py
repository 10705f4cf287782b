"""Whole runs with something inside the frozen model: trained, scored, saved, read and served."""

import dataclasses
from pathlib import Path

import peft
import pytest
from transformers import T5ForConditionalGeneration

from dept_vl import AdaptedModel
from dept_vl.config import InsideConfig, OptimConfig
from dept_vl.run import check
from dept_vl.run.execute import run
from dept_vl.run.results import summary
from dept_vl.run.saved import score_adapter
from dept_vl.saved import read_adapter
from dept_vl.serve.named import UnknownAdapter
from dept_vl.serve.rows import WrongTask
from dept_vl.tuning import UnfitTuning
from tests.tiny_runs import json_lines, text_experiment, write_cola
from tests.tiny_tunings import CASES, RATES

NONE = {"name": "none", "args": {}}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_cola(tmp_path_factory.mktemp("glue"))


@pytest.fixture
def experiment(folders, data, tmp_path):
    def experiment(inside: str | None, folder: str = "run", adapter: dict = NONE, **changes: object):
        rates = {"prompt": 0.05, "low_rank": 0.01, **RATES}
        config = text_experiment(folders["t5"], data, tmp_path / folder, adapter=adapter, optim=OptimConfig(lr=rates))
        return dataclasses.replace(config, inside=InsideConfig(inside, CASES.get(inside, {})), **changes)

    return experiment


def answers_of(folder: Path) -> dict[str, str]:
    return {
        row["text"].removeprefix("sentence: "): row["prediction"] for row in json_lines(folder / "predictions.jsonl")
    }


NAMES = {"unacceptable": "0", "acceptable": "1"}


@pytest.mark.usefixtures("afresh")
def test_each_method_trains_scores_saves_and_answers(case, experiment, folders):
    config = experiment(case)
    results, folder = run(config), Path(config.output_dir)
    assert results["inside"] == case and results["weights"]["trained"] > 0
    assert f"  {case} " in summary(results) and f"{results['weights']['trained']:,}" in summary(results)
    model = AdaptedModel.from_pretrained(folder, backbone=folders["t5"])
    wanted = answers_of(folder)
    assert [NAMES[each] for each in model.classify(list(wanted))] == list(wanted.values())
    assert model.backbone.attached is not None


@pytest.mark.usefixtures("afresh")
def test_a_side_network_that_looks_at_the_task_first_resumes_and_answers(experiment, folders, tmp_path):
    """It looks anew when it resumes, and not at all when it is served."""
    fisher = InsideConfig("lst", {**CASES["lst"], "init_weights": "fisher"})

    def looking(folder: str, **changes: object):
        return dataclasses.replace(experiment("lst", folder, save_steps=2, **changes), inside=fisher)

    whole = run(looking("run"))
    assert whole["inside"] == "lst" and run(experiment("lst", "plain"))["weights"] == whole["weights"]
    run(looking("again", resume_from_checkpoint=str(tmp_path / "run" / "checkpoints" / "step_2")))
    wanted, given = (tmp_path / name / "adapter_model.safetensors" for name in ("run", "again"))
    assert given.read_bytes() == wanted.read_bytes()
    assert (tmp_path / "plain" / "adapter_model.safetensors").read_bytes() != wanted.read_bytes()
    model = AdaptedModel.from_pretrained(tmp_path / "run", backbone=folders["t5"])
    answers = answers_of(tmp_path / "run")
    assert [NAMES[each] for each in model.classify(list(answers))] == list(answers.values())


@pytest.mark.usefixtures("afresh")
def test_rows_of_several_methods_are_answered_as_each_alone(experiment, folders, tmp_path):
    dept = {"name": "dept", "args": {"num_virtual_tokens": 3, "r": 2, "max_length": 24}}
    kinds = {"default": ("lora", dept), "ia3": ("ia3", NONE), "dept": (None, dept)}
    for name, (inside, adapter) in kinds.items():
        run(experiment(inside, name, adapter))
    model = AdaptedModel.from_pretrained(tmp_path / "default", backbone=folders["t5"])
    for name in ("ia3", "dept"):
        model.load_adapter(tmp_path / name, name)
    texts = list(answers_of(tmp_path / "dept"))
    bare = model.generate(texts[:1], ["__base__"])
    names = [name for _ in texts for name in kinds]
    rows = [text for text in texts for _ in kinds]
    given = dict(zip(zip(rows, names, strict=True), model.classify(rows, names), strict=True))
    for name in kinds:
        wanted = answers_of(tmp_path / name)
        assert {text: NAMES[given[text, name]] for text in texts} == wanted
    assert model.generate(texts[:1], ["__base__"]) == bare and model.backbone.attached is None
    model.save_pretrained(tmp_path / "all")
    assert (tmp_path / "all" / "peft").is_dir() and (tmp_path / "all" / "ia3" / "peft").is_dir()
    with pytest.raises(UnknownAdapter, match="wanted a name that a folder can have, given 'peft'"):
        model.load_adapter(tmp_path / "dept", "peft")
    model.classify(texts[:1], ["ia3"])
    model.delete_adapter("ia3")
    assert model.backbone.attached is None
    root, t5, file = experiment(None).task.root, str(folders["t5"]), tmp_path / "predictions.jsonl"
    score_adapter(str(tmp_path / "default"), "cola", root=root, backbone=t5, predictions=str(file))
    assert [row["prediction"] for row in json_lines(file)] == list(answers_of(tmp_path / "default").values())


@pytest.mark.usefixtures("afresh")
def test_a_run_starts_from_another_with_the_same_method(experiment, tmp_path):
    run(experiment("ia3", "source"))
    start = {**NONE, "start": {"from": str(tmp_path / "source")}}
    for inside, note in (("ia3", []), ("lora", ["the source's IA3 inside the frozen model stays behind"])):
        results = run(experiment(inside, f"target_{inside}", start, max_steps=1))
        assert [each for each in results["started_from"]["not_copied"] if "inside" in each] == note


@pytest.mark.usefixtures("afresh")
def test_a_run_starts_from_what_peft_saved_and_it_loads_beside_its_model(experiment, folders, tmp_path):
    model = peft.get_peft_model(T5ForConditionalGeneration.from_pretrained(folders["t5"]), peft.LoraConfig(r=2))
    model.save_pretrained(tmp_path / "peft")
    start = {**NONE, "start": {"from": str(tmp_path / "peft")}}
    assert run(experiment("lora", "target", start, max_steps=1))["started_from"]["not_copied"] == []
    adapted = AdaptedModel.from_pretrained(tmp_path / "peft", backbone=folders["t5"])
    adapted.save_pretrained(tmp_path / "ours")
    assert read_adapter(tmp_path / "ours").inside.config()["r"] == 2
    with pytest.raises(WrongTask, match="records no task"):
        adapted.generate(["a text"])


@pytest.mark.parametrize(
    ("inside", "rates", "message"),
    [
        ("lorra", RATES, "unknown tuning 'lorra': wanted one of .* Did you mean 'lora'"),
        ("lora", {"prompt": 0.1}, "optim.lr: wanted a rate for 'lora', which trains here"),
    ],
)
def test_a_config_is_refused_before_a_weight_is_loaded(inside, rates, message, experiment):
    with pytest.raises(ValueError, match=message):
        check(experiment(inside, optim=OptimConfig(lr=rates)))


def test_none_is_null(experiment):
    check(experiment("none", max_steps=0, optim=OptimConfig(lr={"prompt": 0.1})))
    assert experiment("none").inside.method is None


@pytest.mark.usefixtures("afresh")
def test_weights_that_do_not_fit_are_refused_when_they_are_loaded(experiment, folders, tmp_path, monkeypatch):
    run(experiment("bitfit", max_steps=1))
    monkeypatch.setattr("dept_vl.serve.fitting.check_identity", lambda *_, **__: None)
    with pytest.raises(UnfitTuning, match="BitFit: weights that do not fit this frozen model"):
        AdaptedModel.from_pretrained(tmp_path / "run", backbone=folders["t5_v1_1"])
