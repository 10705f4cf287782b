"""Complete runs of a mixture of text tasks: what they write, what reads it, and that a stopped one goes on alike."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dept_vl import AdaptedModel, load_adapter
from dept_vl.config import BadConfig, InsideConfig, load_experiment
from dept_vl.plans.compare_runs import NotComparable, read_run
from dept_vl.plans.load import Changes, complete
from dept_vl.plans.page import make_section
from dept_vl.plans.runs import make_schedule
from dept_vl.plans.schema import Cell, Needs, PlanFile
from dept_vl.plans.summary import as_markdown
from dept_vl.plans.table import read_table
from dept_vl.run.execute import run
from dept_vl.run.results import summary
from dept_vl.run.saved import score_adapter
from tests.tiny_runs import RATES, forget_accelerate, json_lines, read_log, text_experiment, write_two_tasks

TASKS = ("cola", "sst2")
LABELS = {"cola": {"0": "unacceptable", "1": "acceptable"}, "sst2": {"0": "negative", "1": "positive"}}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_two_tasks(tmp_path_factory.mktemp("glue"))


@pytest.fixture(scope="module")
def make(data, byte_t5):
    def make(folder, **changes):
        task = {"name": "any", "mixture": TASKS, "max_source_length": None, **changes.pop("task", {})}
        args = {"num_virtual_tokens": 3, "num_tasks": None}
        adapter = {"name": "mpt", "args": args, **changes.pop("adapter", {})}
        config = text_experiment(byte_t5, data, folder, task=task, adapter=adapter, **changes)
        return dataclasses.replace(config, optim=dataclasses.replace(config.optim, lr={**RATES, "task": 0.05}))

    return make


@pytest.fixture(scope="module")
def finished(make, tmp_path_factory):
    """The folder of a run of MPT on both tasks, and what `run` returned."""
    folder = tmp_path_factory.mktemp("runs") / "mix"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        forget_accelerate()
        yield folder, run(make(folder, save_steps=2))
        forget_accelerate()


def read_results(folder):
    return json.loads((folder / "results.json").read_text())


def test_a_mixtures_run_scores_each_task_and_picks_the_step_by_their_mean(finished):
    folder, results = finished
    test = results["metrics"]["test"]
    assert results["task"] == "cola+sst2" and results["selection"]["reported"] == "mean"
    heads = [test["tasks"]["cola"]["matthews_correlation"], test["tasks"]["sst2"]["accuracy"]]
    assert test["mean"] == pytest.approx(sum(heads) / 2)
    scores = {each["step"]: each["mean"] for each in results["train_info"]["metrics"]}
    assert set(scores) == {2, 4} and results["best_step"] == max(scores, key=lambda step: (scores[step], -step))
    best = next(each for each in results["train_info"]["metrics"] if each["step"] == results["best_step"])
    assert best["mean"] == pytest.approx((best["cola/matthews_correlation"] + best["sst2/accuracy"]) / 2)
    assert results["trained_on"]["regime"] == "multi-task" and results["trained_on"]["tasks"] == list(TASKS)
    counts = {name: read_results(folder / name)["counts"]["train"]["examples"] for name in TASKS}
    shares = {name: number / sum(counts.values()) for name, number in counts.items()}
    assert results["trained_on"]["shares"] == pytest.approx(shares) and counts["cola"] == 24
    assert results["counts"]["train"]["examples"] == sum(counts.values())
    assert results["weights"]["trained_per_task"] == results["weights"]["trained"] / 2 == (3 * 16 + 2 * (3 + 16)) / 2


def test_a_tasks_folder_is_a_run_folder_of_that_task(finished):
    folder, whole = finished
    for name in TASKS:
        own = read_results(folder / name)
        assert own["task"] == name and own["metrics"]["test"] == whole["metrics"]["test"]["tasks"][name]
        assert own["best_step"] == whole["best_step"] and own["metrics"]["val"]["step"] == own["best_step"]
        assert own["selection"]["metric"] in own["metrics"]["val"] and own["trained_on"]["regime"] == "multi-task"
        member = whole["members"][name]
        assert member["score"] == own["metrics"]["test"][own["selection"]["reported"]]
        assert whole["baselines"]["majority"] == pytest.approx(
            sum(each["baselines"]["majority"] for each in whole["members"].values()) / 2
        )
        compared = read_run(folder / name)
        assert compared.task.name == name and len(compared.predictions) == len(compared.examples) > 0
    with pytest.raises(
        NotComparable, match="wanted a run of one task, given a mixture: its tasks' folders are cola, sst2"
    ):
        read_run(folder)
    tasks = [load_experiment(folder / name / "config.yaml").task for name in TASKS]
    assert [each.max_source_length for each in tasks] == [256, 256] and tasks[0].mixture is None
    assert load_experiment(folder / "config.yaml").task.mixture == TASKS


def test_predictions_name_the_task_of_each_row(finished):
    folder, _ = finished
    rows = json_lines(folder / "predictions.jsonl")
    for name in TASKS:
        own = json_lines(folder / name / "predictions.jsonl")
        assert [{**each, "task": name} for each in own] == [each for each in rows if each["task"] == name]
    assert len(rows) == sum(read_results(folder / name)["counts"]["test"]["examples"] for name in TASKS)


def test_the_log_and_what_is_printed_name_each_task(finished):
    folder, results = finished
    evaluations = [line["evaluation"] for line in read_log(folder) if "evaluation" in line]
    assert all({"mean", "cola/matthews_correlation", "sst2/accuracy"} <= set(each) for each in evaluations)
    shown = summary(results)
    assert shown.startswith("cola+sst2: test mean x 100 (as_published)\n") and "multi-task: trained 86 of" in shown
    assert "sst2 " in shown and "43 a task" in shown
    html = (folder / "report.html").read_text()
    assert "multi-task" in html and "sentence: a good film" in html and "Each task of the mixture" in html


def test_the_adapter_of_a_tasks_folder_answers_as_the_mixture_did(finished, byte_t5):
    folder, _ = finished
    for name in TASKS:
        model = AdaptedModel.from_pretrained(folder / name, backbone=byte_t5)
        rows = json_lines(folder / name / "predictions.jsonl")
        sentences = [row["text"].removeprefix("sentence: ") for row in rows]
        assert model.classify(sentences) == [LABELS[name][row["prediction"]] for row in rows]
    whole, parts = load_adapter(folder), [load_adapter(folder / name) for name in TASKS]
    assert whole.num_tasks == 2 and [each.num_tasks for each in parts] == [None, None]
    assert not parts[0].fold().prompt.equal(parts[1].fold().prompt)


@pytest.mark.usefixtures("afresh")
def test_adapters_generated_for_each_task_are_saved_and_answer_as_their_own(make, byte_t5, tmp_path):
    inside = InsideConfig("hyperformer", {"num_tasks": None, "reduction": 4})
    config = make(tmp_path / "mix", adapter={"name": "none", "args": {}}, inside=inside)
    rates = {"hypernetwork": 0.5, "layer_norm": 0.01}
    run(dataclasses.replace(config, optim=dataclasses.replace(config.optim, lr=rates)))
    assert load_experiment(tmp_path / "mix" / "config.yaml").inside.args["num_tasks"] == 2
    folders = [tmp_path / "mix" / name for name in TASKS]
    first, second = (load_file(each / "adapter_model.safetensors") for each in folders)
    differ = [name for name, weight in first.items() if not torch.equal(weight, second[name])]
    assert differ == ["inside.weights.task_embedding"] and first[differ[0]].shape == (1, 64)
    for folder in folders:
        rows = json_lines(folder / "predictions.jsonl")
        model = AdaptedModel.from_pretrained(folder, backbone=byte_t5)
        labels = [LABELS[folder.name][row["prediction"]] for row in rows]
        assert model.classify([row["text"].removeprefix("sentence: ") for row in rows]) == labels


@pytest.mark.usefixtures("afresh")
def test_the_saved_adapter_of_a_task_scores_as_in_its_run(finished, data, byte_t5):
    folder, results = finished
    scored = score_adapter(str(folder / "sst2"), "sst2", root=str(data), backbone=str(byte_t5))
    test = results["metrics"]["test"]["tasks"]["sst2"]
    assert {name: scored[name] for name in test} == test


@pytest.mark.usefixtures("afresh")
def test_a_resumed_mixture_ends_like_one_that_never_stopped(finished, make, tmp_path):
    folder, whole = finished
    shutil.copytree(folder / "checkpoints" / "step_2", tmp_path / "step_2")
    resumed = run(make(tmp_path / "again", save_steps=2, resume_from_checkpoint=str(tmp_path / "step_2")))
    for file in ("adapter_model.safetensors", "predictions.jsonl"):
        assert (tmp_path / "again" / file).read_bytes() == (folder / file).read_bytes()
    assert resumed["metrics"] == whole["metrics"]
    even = make(tmp_path / "even", task={"sampling": dataclasses.replace(load(folder).sampling, by="even")})
    with pytest.raises(ValueError, match="it would not be the same run"):
        run(dataclasses.replace(even, resume_from_checkpoint=str(tmp_path / "step_2")))


def load(folder):
    return load_experiment(folder / "config.yaml").task


@pytest.mark.usefixtures("afresh")
def test_a_plan_reads_each_tasks_score_of_a_shared_run_and_says_multi_task(make, tmp_path):
    """Two cells on both tasks: alone, which makes two runs, and together, which makes one."""
    config = make(tmp_path / "run", max_steps=1, eval_steps=0)
    files = json.loads(json.dumps(config.to_dict()))
    files["task"] |= {"mixture": None, "name": "cola,sst2"}
    files["adapter"] = {"name": "pt", "args": {"num_virtual_tokens": 3}}
    plan = complete(PlanFile(tmp_path / "plan.yaml"), Changes(files=files, grid={"task.mixture": [None, list(TASKS)]}))
    schedule = make_schedule([plan], tmp_path)
    assert len(schedule.runs) == 3 and len(schedule.places[plan.name]) == 4
    for each in schedule.runs.values():
        run(each.config)
        forget_accelerate()
    table = read_table(plan, schedule, tmp_path)
    multi = [each for each in table.outcomes if each.regime == "multi-task"]
    assert [each.results["task"] for each in multi] == list(TASKS) and len({each.folder.parent for each in multi}) == 1
    assert all(each.log() for each in multi)
    assert len(table.outcomes) == 4 and "(multi-task) |" in as_markdown(table, {})
    marked = {score.cell.endswith("(multi-task)") for score in make_section(table, (), ()).scores}
    assert marked == {True, False}
    assert [row.rpartition(",")[2] for row in table.as_csv().splitlines()] == [
        "regime", "single-task", "single-task", "multi-task", "multi-task",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("task", "error", "message"),
    [
        ({"mixture": ("cola",)}, ValueError, "task.mixture: wanted at least two different tasks, given cola"),
        ({"mixture": ("cola", "sst-2")}, ValueError, r"unknown task 'sst-2'.*Did you mean 'sst2'\?"),
        ({"template": "s: {sentence}"}, BadConfig, "task.template: wanted null for a mixture"),
        ({"mixture": ("cola", "vqa")}, ValueError, "wanted tasks of text alone, or vqa and caption, given cola, vqa"),
        ({"protocol": "official-2021"}, ValueError, "cola: protocol: wanted one of"),
    ],
)
@pytest.mark.usefixtures("afresh")
def test_impossible_mixtures_are_told_before_any_weight_loads(make, tmp_path, task, error, message):
    with pytest.raises(error, match=message):
        run(make(tmp_path / "run", task=task))
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("afresh", "meteor_at_once")
def test_questions_and_captions_train_one_adapter_together(experiment, byte_t5, tmp_path):
    """Rows with images: both tasks read the same projection, and a batch holds rows of both."""
    task = {"mixture": ("vqa", "caption"), "max_target_length": 40}
    config = experiment("both", max_steps=2, eval_steps=0, task=task)
    results = run(config)
    test = results["metrics"]["test"]
    heads = [test["tasks"]["vqa"]["vqa_accuracy"], test["tasks"]["caption"]["CIDEr"]]
    assert test["mean"] == pytest.approx(sum(heads) / 2) and set(results["baselines"]) == {"blind"}
    assert results["trained_on"]["tasks"] == ["vqa", "caption"] and results["recorded"] == []
    folder = tmp_path / "both"
    model = AdaptedModel.from_pretrained(folder / "caption", backbone=byte_t5)
    rows = json_lines(folder / "caption" / "predictions.jsonl")
    images = [str(next(Path(config.task.root).rglob(row["image"]))) for row in rows]
    assert model.caption(images) == [row["prediction"] for row in rows]
    assert {row["task"] for row in json_lines(folder / "predictions.jsonl")} == {"vqa", "caption"}


@pytest.fixture(scope="module")
def teachers(make, data, byte_t5, tmp_path_factory):
    """Run folders of prompt tuning on each task alone."""
    folders = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        for name in TASKS:
            forget_accelerate()
            folders.append(str(tmp_path_factory.mktemp("teachers") / name))
            config = make(folders[-1], task={"name": name, "mixture": None}, adapter={"name": "pt", "args": PROMPT})
            run(dataclasses.replace(config, eval_steps=0))
        forget_accelerate()
    return folders


PROMPT = {"num_virtual_tokens": 3}


@pytest.mark.usefixtures("afresh")
def test_a_mixture_learns_from_a_teacher_a_task_and_a_target_starts_from_it(make, teachers, finished, tmp_path):
    """Stopped and resumed it ends alike; its task's folder and a run that starts from it need no teacher."""
    given = {"start": {"sources": teachers}}
    sampling = dataclasses.replace(load(finished[0]).sampling, tasks_per_batch=(2, 2))
    whole = run(make(tmp_path / "mix", adapter=given, task={"sampling": sampling}, save_steps=2))
    started = whole["started_from"]["sources"]
    assert [each["folder"] for each in started] == teachers and len({each["sha256"] for each in started}) == 2
    log = [line["loss"] for line in read_log(tmp_path / "mix") if "loss" in line]
    plain = run(make(tmp_path / "plain", task={"sampling": sampling}, save_steps=2))
    alone = [line["loss"] for line in read_log(tmp_path / "plain") if "loss" in line]
    assert log[0] > alone[0] and plain["started_from"]["sources"] == []  # the same rows, and what the teachers add
    shutil.copytree(tmp_path / "mix" / "checkpoints" / "step_2", tmp_path / "step_2")
    again = make(
        tmp_path / "again", adapter=given, task={"sampling": sampling}, save_steps=2,
        resume_from_checkpoint=str(tmp_path / "step_2"),
    )  # fmt: skip
    run(again)
    wanted = (tmp_path / "mix" / "adapter_model.safetensors").read_bytes()
    assert (tmp_path / "again" / "adapter_model.safetensors").read_bytes() == wanted
    target = make(
        tmp_path / "target", task={"name": "cola", "mixture": None}, max_steps=1, eval_steps=0,
        adapter={"start": {"from": str(tmp_path / "mix")}},
    )  # fmt: skip
    assert run(target)["started_from"]["not_copied"] == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adapter": {"start": {"sources": 1}}}, "wanted 0 or 2 folders of trained prompts for mpt, given 1"),
        ({"adapter": {"start": {"sources": (0, 0)}}}, "wanted each folder once, given .*cola twice"),
        ({"inside": InsideConfig("bitfit")}, "nothing inside the frozen model .*, given inside.name bitfit"),
        ({"task": {"name": "cola", "mixture": None}}, "wanted 0 folders of trained prompts for mpt, given 2"),
    ],
)
@pytest.mark.usefixtures("afresh")
def test_impossible_teachers_are_told_before_any_weight_loads(changes, message, make, teachers, tmp_path):
    given = changes.get("adapter", {}).get("start", {}).get("sources", 2)
    sources = [teachers[place] for place in given] if isinstance(given, tuple) else teachers[:given]
    config = make(tmp_path / "run", **{**changes, "adapter": {"start": {"sources": sources}}})
    config = dataclasses.replace(config, optim=dataclasses.replace(config.optim, lr={**config.optim.lr, "bias": 0.1}))
    with pytest.raises(BadConfig, match=message):
        run(config)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("afresh")
def test_attempt_on_several_tasks_has_a_target_each_and_serves_them(make, teachers, byte_t5, tmp_path):
    args = {"num_virtual_tokens": 3, "num_sources": 2, "r": 4, "num_tasks": None}
    config = make(tmp_path / "mix", adapter={"name": "attempt", "args": args, "start": {"sources": teachers}})
    rates = {"prompt": 0.5, "attention": 0.1}
    results = run(dataclasses.replace(config, optim=dataclasses.replace(config.optim, lr=rates)))
    assert results["weights"]["trained"] == 2 * 3 * 16 + 2 * 4 * 16 + 2 * 16
    first, second = (load_adapter(tmp_path / "mix" / name) for name in TASKS)
    assert first.num_tasks is None and not first.prompt_embeddings.equal(second.prompt_embeddings)
    assert first.attention_up.equal(second.attention_up) and first.source_prompts.equal(second.source_prompts)
    for name in TASKS:
        model = AdaptedModel.from_pretrained(tmp_path / "mix" / name, backbone=byte_t5)
        rows = json_lines(tmp_path / "mix" / name / "predictions.jsonl")
        labels = [LABELS[name][row["prediction"]] for row in rows]
        assert model.classify([row["text"].removeprefix("sentence: ") for row in rows]) == labels


@pytest.mark.usefixtures("afresh")
def test_a_plan_trains_teachers_then_what_they_teach_then_a_target(make, tmp_path):
    """The runs of a chain find each other's folders; its table compares the last cell alone."""
    files = json.loads(json.dumps(make(tmp_path / "run", max_steps=1, eval_steps=0).to_dict()))
    files["task"] = {**files["task"], "mixture": None}
    del files["task"]["name"]
    cells = (
        Cell("teacher", tasks=TASKS, settings={"adapter": {"name": "pt", "args": PROMPT}}),
        Cell("taught", tasks=TASKS, sources=Needs("teacher"), settings={"task": {"mixture": ["sst2", "cola"]}}),
        Cell("target", tasks=("cola",), needs=Needs("taught")),
    )
    plan = complete(PlanFile(tmp_path / "plan.yaml", cells=cells), Changes(files=files))
    schedule = make_schedule([plan], tmp_path)
    for each in schedule.runs.values():
        run(each.config)
        forget_accelerate()
    table = read_table(plan, schedule, tmp_path)
    taught, target = table.of("taught")[0].results, table.of("target")[0].results
    folders = {each.place.task: str(each.folder) for each in table.of("teacher")}
    assert [each["folder"] for each in taught["started_from"]["sources"]] == [folders["sst2"], folders["cola"]]
    assert target["started_from"]["folder"] == str(table.of("taught")[0].folder.parent)
    assert target["started_from"]["not_copied"] == []
    text = as_markdown(table, {})
    assert "| target |" in text and "Sources: taught, teacher." in text and "| taught" not in text
