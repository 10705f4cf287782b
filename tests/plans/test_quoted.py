"""Printed rows: which a plan runs, what such a plan takes from them and from recipes, and which mistakes are told."""

import math

import pytest
import yaml

from dept_vl.plans.load import load_plan
from dept_vl.plans.quoted import Quoted
from dept_vl.plans.settings import BadPlan
from dept_vl.tasks import TASKS
from tests.plans.conftest import ROW
from tests.plans.test_rows import BLOCKS, PAPERS, ROWS, row_of


def test_every_printed_row_is_a_plan_or_says_why_not():
    """Of DePT's Tables 1 to 5 and DPT's 1 and 4, all that is trained on one task runs."""
    reasons = {}
    for block in BLOCKS:
        paper = block.title.split(",")[0].lower()
        plans = [row for row in ROWS if (row.paper, row.table, row.variant) == (paper, block.table, block.variant)]
        for quoted in block.rows:
            run = any(row.quotes == quoted.method for row in plans)
            assert run == (quoted.here == Quoted.here), f"{block.title}: {quoted.method}: {quoted.here}"
            if not run and paper != "fpt":
                reasons.setdefault(quoted.here, set()).add((block.table, quoted.method, quoted.training.split(",")[0]))
    ((reason, told),) = reasons.items()
    assert "several tasks at once" in reason and {training for *_, training in told} == {"multi-task"}
    assert {(table, method.split(",")[0]) for table, method, _ in told} == {
        (1, "Fine-tuning"), (1, "Adapter"), (1, "HyperFormer"), (1, "HyperDecoder"), (1, "ATTEMPT"), (1, "MPT"),
        (4, "HyperFormer"),
    }  # fmt: skip


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
