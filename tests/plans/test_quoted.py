"""Printed rows: which a plan runs, what such a plan takes from them and from recipes, and which mistakes are told."""

import math
from pathlib import Path

import pytest
import yaml

from dept_vl.plans.load import load_plan
from dept_vl.plans.published import check_row
from dept_vl.plans.quoted import Quoted
from dept_vl.plans.runs import make_schedule
from dept_vl.plans.settings import BadPlan
from dept_vl.tasks import TASKS
from tests.plans.conftest import ROW
from tests.plans.test_rows import BLOCKS, PAPERS, ROWS, row_of


def test_every_printed_row_is_a_plan_or_says_why_not():
    """Of DePT's Tables 1 to 5 and DPT's 1 and 4 all run."""
    for block in BLOCKS:
        paper = block.title.split(",")[0].lower()
        plans = [row for row in ROWS if (row.paper, row.table, row.variant) == (paper, block.table, block.variant)]
        for quoted in block.rows:
            run = any(row.quotes == quoted.method for row in plans)
            assert run == (quoted.here == Quoted.here), f"{block.title}: {quoted.method}: {quoted.here}"
            assert run or paper == "fpt", (block.title, quoted.method)


MIXTURES = ["mnli qqp qnli sst2 stsb mrpc rte cola", "multirc boolq wic wsc.fixed cb"]


def test_a_multi_task_row_is_a_run_for_each_benchmark():
    rows = [row for row in ROWS if row.training.startswith("multi-task")]
    assert {row.method for row in rows} == {
        "full_multi_task", "adapter_multi_task", "hyperformer", "hyperdecoder", "attempt_multi_task", "mpt_multi_task",
    }  # fmt: skip
    for row in rows:
        schedule = make_schedule([row], Path("runs"))
        assert len(row.cells) == 13 and len(schedule.runs) == 2, row.path
        for run, names in zip(schedule.runs.values(), MIXTURES, strict=True):
            wanted = tuple(f"superglue-{name}" if "cb" in names else name for name in names.split())
            assert run.config.task.mixture == wanted
            args = {**run.config.adapter.args, **run.config.inside.args}
            assert args.get("num_tasks", len(wanted)) == len(wanted), row.path
        places = {place.task: place.run for place in schedule.places[row.name]}
        assert places["cola"] == places["mnli"] != places["superglue-cb"] == places["superglue-wic"]
        head = "".join(line for line in row.path.read_text().splitlines() if line.startswith("#"))
        assert "2 runs" in head and check_row(row).endswith("13 cells, 2 runs, as_published" + need(row) + ": good")


def need(row) -> str:
    return f", to be given: {', '.join(f'--{name}' for name in row.given)}" if row.given else ""


def test_training_is_named_in_every_table():
    """Which rows saw one task, several at once, or others before: DePT's headings, its section 3.1 and LST's code."""
    for block in BLOCKS:
        for quoted in block.rows:
            several = "multi-task" in quoted.method or quoted.method == "HyperFormer"
            before = quoted.method.startswith(("SPoT", "ATTEMPT", "MPT", "(IA)3")) or (block.table, several) == (
                4,
                True,
            )
            wanted = ("multi-task" if several else "single-task") + (", from source tasks" if before else "")
            if block.title.startswith("DePT, Table 3"):
                wanted = "not stated" if quoted.method == "DePT" else "multi-task: VQA, GQA, NLVR2, COCO"
            assert quoted.training == wanted, (block.title, quoted.method)
    given = {row.path.stem for row in ROWS if any(name.startswith("adapter.start") for name in row.given)}
    assert given == {row.path.stem for row in ROWS if row.training.endswith("from source tasks")}
    assert {row.training for row in ROWS if row.table == 3} == {"single-task"}
    assert row_of("table4_hyperformer").training == "single-task, from source tasks"  # of one task each here


def test_a_row_has_the_printed_deviations_and_three_repeats_beside_them():
    for row in ROWS:
        if row.paper == "dept" and any(cell.sd is not None for cell in row.cells) and row_has_no_log(row):
            assert all(len(cell.seeds) * len(cell.draws) == 3 for cell in row.cells), row.path
    mpt = {cell.task: cell.sd for cell in row_of("table2_mpt").cells}
    assert (mpt["nq"], mpt["winogrande"], mpt["yelp_polarity"]) == (0.1, 0.9, 0.0)
    vl = {row.method: [(cell.published, cell.sd) for cell in row.cells] for row in ROWS if row.table == 3}
    assert vl["vl_p_tuning"] == [({"vqa_accuracy": 47.4}, 0.7), ({"CIDEr": 96.1}, 0.9)]
    assert vl["dept"] == [({"vqa_accuracy": 59.8}, 0.4), ({"CIDEr": 113.7}, 0.3)]


def row_has_no_log(row) -> bool:
    return not any(cell.logged for cell in row.cells)


EPOCHS = {"attempt": (32, 3), "compacter": (100, 3), "lst": (100, 10)}  # batch, and epochs of a large set; 20 of others
LARGE = {"mnli", "qqp", "qnli", "sst2", "nq", "hotpotqa", "searchqa", "newsqa", "winogrande", "yelp_polarity", "paws"}


@pytest.mark.parametrize("name", EPOCHS)
def test_a_recipe_of_epochs_counts_its_steps(name):
    batch, of_large = EPOCHS[name]
    recipe = yaml.safe_load((PAPERS / "dept" / "base" / f"{name}.yaml").read_text())
    for task, settings in recipe["cells"].items():
        steps = math.ceil(TASKS[task].splits.sizes[0] / batch)
        wanted = ((of_large if task in LARGE else 20) * steps, steps)
        assert (settings["max_steps"], settings["eval_steps"]) == wanted, task
        short = settings["max_steps"] <= 500
        assert (settings.get("optim") == {"warmup_steps": 0.06}) == short, task
    assert len(recipe["cells"]) == {"attempt": 21, "compacter": 8, "lst": 4}[name]


def test_a_mixtures_recipe_counts_its_epochs():
    recipe = yaml.safe_load((PAPERS / "dept" / "base" / "mixture_epochs.yaml").read_text())
    limit = recipe["experiment"]["task"]["sampling"]["limit"]
    assert limit == 2**18 and recipe["experiment"]["per_device_train_batch_size"] == 32
    source = yaml.safe_load((PAPERS / "text_mpt_source.yaml").read_text())
    glue, superglue = (row.split() for row in MIXTURES)
    for tasks, settings, epochs in (
        (glue, recipe["cells"]["cola"], 3),
        ([f"superglue-{name}" for name in superglue], recipe["cells"]["superglue-cb"], 20),
        (source["task"]["mixture"], source, 5),
    ):
        rows = 0
        for name in tasks:
            task = TASKS[name]
            whole = task.source.whole.get("train") if task.splits.sizes is None else None
            rows += min(limit, whole - 1000 if whole else task.splits.sizes[0])
        steps = math.ceil(rows / 32)
        assert (settings["max_steps"], settings["eval_steps"]) == (epochs * steps, steps), tasks


def test_dept_of_table_3_is_that_of_its_two_configs():
    """Where a script and where reproduce.py run it."""
    for cell, name in zip(row_of("table3_dept").cells, ("vqa_dept", "coco_dept"), strict=True):
        alone = yaml.safe_load((PAPERS / f"{name}.yaml").read_text())
        for settings in (alone, cell.settings):
            for key in ("output_dir", "seed"):
                settings.pop(key, None)
        cell.settings["task"] = {**cell.settings["task"], "name": cell.task}
        assert cell.settings == alone


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quotes": "LoRRA"}, r"quotes: wanted a row of table 1 in published.yaml: LoRA, LST, given 'LoRRA'. Did you"),
        ({"quotes": "LST", "cells": ROW["cells"]}, "quotes: wanted it without cells and means"),
        ({"recipe": ["none.yaml"]}, "none.yaml: wanted a YAML file"),
        ({"recipe": ["recipe.yaml"]}, "recipe.yaml: cells: wanted a task, k=NUMBER, or both, given 'colla k=4'"),
    ],
)
def test_a_mistake_in_a_quoting_row_is_told(changes, message, write_row):
    path = write_row(**{"cells": None, "means": None, **changes})
    (path.parent / "recipe.yaml").write_text("cells: {colla k=4: {max_steps: 3}}")
    (path.parent / "published.yaml").write_text(yaml.safe_dump({"blocks": [PRINTED]}))
    with pytest.raises(BadPlan, match=message):
        load_plan(path)


PRINTED = {
    "table": 1, "title": "T", "columns": ["cola", "mrpc", "GLUE", "superglue-cb", "SuperGLUE"],
    "rows": [
        {"method": "LoRA", "values": [1.5, 2.5, 2.0, 4.0, 4.0], "sds": [None, 0.5, None, None, None]},
        {"method": "LST", "values": [1.5, None, 1.5, None, None], "training": "multi-task"},
    ],
}  # fmt: skip


def test_a_row_takes_cells_and_means_of_the_printed_row_and_settings_of_its_recipes(write_row):
    both = {"experiment": {"max_steps": 5}, "cells": {"cola": {"max_steps": 6, "eval_steps": 2}}}
    later = {"cells": {"cola": {"max_steps": 7}, "k=4": {"max_steps": 9}}}
    recipes = {"first.yaml": both, "second.yaml": later}
    shared = {"cells": None, "means": None, "experiment": {"eval_steps": 1}, "recipe": [*recipes]}
    path = write_row(quotes="LoRA", **shared)
    for name, content in {**recipes, "published.yaml": {"blocks": [PRINTED]}}.items():
        (path.parent / name).write_text(yaml.safe_dump(content))
    row = load_plan(path)
    assert [(cell.task, cell.published, cell.sd, cell.items) for cell in row.cells] == [
        ("cola", {"matthews_correlation": 1.5}, None, 522), ("mrpc", {"accuracy": 2.5}, 0.5, 204),
        ("superglue-cb", {"accuracy": 4.0}, None, 28),
    ]  # fmt: skip
    assert [(mean.name, mean.tasks, mean.published) for mean in row.means] == [
        ("GLUE", ("cola", "mrpc"), 2.0), ("SuperGLUE", ("superglue-cb",), 4.0)
    ]  # fmt: skip
    assert [(cell.settings["max_steps"], cell.settings["eval_steps"]) for cell in row.cells] == [(7, 2), (5, 1), (5, 1)]
    assert row.training == "single-task"
    half = load_plan(write_row(quotes="LoRA", tasks=["superglue-cb"], **shared))
    assert [cell.task for cell in half.cells] == ["superglue-cb"]
    assert [mean.name for mean in half.means] == ["SuperGLUE"]
    dashes = load_plan(write_row(quotes="LST", **shared))
    assert [cell.task for cell in dashes.cells] == ["cola"]
    assert dashes.means == () and dashes.training == "multi-task"
