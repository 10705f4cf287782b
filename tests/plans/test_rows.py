"""Row files: what they merge to, and which mistakes are told by file and key."""

import copy
import re
from pathlib import Path

import pytest
import yaml

from dept_vl.adapters.budget import dept_size
from dept_vl.plans.load import load_plan
from dept_vl.plans.published import load_rows
from dept_vl.plans.published import select_rows as select
from dept_vl.plans.quoted import load_blocks
from dept_vl.plans.settings import BadPlan, merge
from tests.plans.conftest import ROW

PAPERS = Path(__file__).resolve().parents[2] / "configs" / "paper"
NAMES = ("dept", "dpt", "fpt")
ROWS = [row for paper in NAMES for row in load_rows(PAPERS, paper)]
BLOCKS = [block for paper in NAMES for block in load_blocks(PAPERS, paper)]
WIDTH = {"t5_small": 512, "t5_base": 768, "t5_large": 1024, "t5_3b": 1024, "llama2_7b": 4096, "llama2_13b": 5120}
OVER_BUDGET = {"superglue-multirc": 79_560, "table6_dept_llama2_7b": 419_840, "table6_dept_llama2_13b": 522_240}
# Means that the papers print and that are not the means of what they print, beside what these come to.
OWN_MEANS = {
    ("table5_dept", "SuperGLUE k=32", 66.4): 66.10,
    ("table1_dpt_t5_base", "SuperGLUE", 71.88): 71.9175,
    ("Fine-tuning, multi-task, from ATTEMPT", "SuperGLUE", 76.1): 76.48,
    ("table1_full_multi_task", "SuperGLUE", 76.1): 76.48,
    ("HyperFormer, multi-task, from ATTEMPT", "SuperGLUE", 75.4): 75.48,
    ("table1_hyperformer", "SuperGLUE", 75.4): 75.48,
    ("MPT, multi-task", "SuperGLUE", 76.1): 76.16,
    ("table1_mpt_multi_task", "SuperGLUE", 76.1): 76.16,
}


def row_of(name: str, paper: str = "dept"):
    return next(row for row in ROWS if row.paper == paper and row.path.stem == name)


def mean_of(row, mean) -> float:
    cells = {cell.task: cell for cell in row.cells if cell.k == mean.k}
    scores = [next(iter(cells[task].published.values())) for task in mean.tasks]
    return sum(scores) / len(scores)


def test_the_files_of_a_row_merge_from_left_to_right(row):
    both = row()
    settings = both.cells[0].settings
    assert settings["backbone"] == {"model_name_or_path": "tiny-t5", "dropout": True}
    assert settings["optim"] == {"eps": 1e-7, "lr": {"prompt": 0.3}, "warmup_steps": 5}
    assert (both.row, both.variant, row("table1_pt_t5_base").variant) == ("pt", None, "t5_base")


def test_merging_goes_to_every_depth_and_changes_neither_side():
    left, right = {"a": {"b": {"c": 1, "d": 2}}, "e": 3}, {"a": {"b": {"c": 4}}, "e": {"f": 5}}
    before = copy.deepcopy((left, right))
    assert merge(left, right) == {"a": {"b": {"c": 4, "d": 2}}, "e": {"f": 5}}
    assert (left, right) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocoll": "as_published"}, "unknown key protocoll, wanted one of cells, grid, .*'protocol'"),
        ({"path": "x"}, "unknown key path"),
        ({"table": "1"}, "table: wanted whole number.*, given '1'"),
        ({"cells": []}, r"cells: wanted a list, given \[\]"),
        ({"seeds": ["a"]}, "seeds: wanted a list of whole numbers"),
        ({"base": ["backbones/none.yaml"]}, "none.yaml: wanted a YAML file"),
        ({"experiment": {"max_step": 3}}, r"experiment.max_step: wanted a setting, .* Did you mean 'max_steps'"),
        ({"experiment": {"optim": {"epss": 3}}}, "experiment.optim.epss: wanted a setting, .* Did you mean 'eps'"),
        ({"experiment": {"optim": "pt"}}, "experiment.optim: wanted keys and values, given 'pt'"),
        ({"means": [{"name": "all", "tasks": ["colla"], "published": 1}]}, "mean all: .*'colla'. Did you mean 'cola'"),
        ({"cells": [{"task": "cola", "items": 3, "published": {"f1": "63.8"}}]}, "cell cola: published: wanted keys"),
        (
            {"cells": [{"task": "cola", "items": 3, "published": None, "setting": {}}]},
            "unknown key setting.*'settings'",
        ),
        (
            {
                "cells": [{"task": "cola", "items": 3, "published": None, "settings": {"task": {"k_shoot": 1}}}],
                "means": None,
            },
            "cell cola: settings.task.k_shoot: wanted a setting, .* Did you mean 'k_shot'",
        ),
        ({"cells": [ROW["cells"][0]] * 2, "means": None}, "wanted each cell once, given cola twice"),
        ({"method": "dept"}, r"wanted the name dept/table1_dept\[_<variant>\].yaml, given dept/table1_pt.yaml"),
        ({"paper": "dpt"}, "wanted the name dpt/"),
    ],
)
def test_a_mistake_is_told_with_the_file_and_the_key(changes, message, write_row, tmp_path):
    path = write_row(**changes)
    with pytest.raises(BadPlan, match=message) as error:
        load_plan(path)
    assert str(path) in str(error.value) or "none.yaml" in message


def test_a_table_that_prints_only_a_mean_says_so_with_null(write_row, tmp_path):
    path = write_row(means=None)
    path.write_text(path.read_text().replace("published:\n    matthews_correlation: 63.8", "published: null"))
    assert load_plan(path).cells[0].published is None


def test_quoted_rows_have_a_value_for_each_column(tmp_path):
    folder = tmp_path / "paper" / "dept"
    folder.mkdir(parents=True)
    assert load_blocks(folder.parent, "dept") == []
    block = {"table": 1, "title": "T", "columns": ["cola", "sst2"], "rows": [{"method": "LoRA", "values": [1.5]}]}
    (folder / "published.yaml").write_text(yaml.safe_dump({"blocks": [block]}))
    with pytest.raises(BadPlan, match="T: LoRA: wanted 2 values, one per column, given 1"):
        load_blocks(folder.parent, "dept")
    block["rows"] = [{"method": "LoRA", "values": [1.5, 2.5], "sds": [0.1]}]
    (folder / "published.yaml").write_text(yaml.safe_dump({"blocks": [block]}))
    with pytest.raises(BadPlan, match="T: LoRA: wanted 2 sds, one per column, given 1"):
        load_blocks(folder.parent, "dept")


def test_rows_are_selected_by_table_method_variant_task_and_k(row):
    shots = [{"task": "cola", "k": k, "published": {"accuracy": k}, "items": 522} for k in (4, 16)]
    rows = [row(), row("table1_pt_t5_small"), row("table4_pt", table=4, cells=shots, means=None)]
    assert select(rows) == rows and select(rows, table=4) == rows[2:] and select(rows, method="dept") == []
    assert select(rows, table=1, method="pt") == rows[:2] and select(rows, method="pt_t5_small") == rows[1:2]
    (only,) = select(rows, task="superglue-cb", method="pt_t5_small")
    assert [cell.task for cell in only.cells] == ["superglue-cb"]
    assert [[cell.name for cell in each.cells] for each in select(rows, k=16)] == [["cola k=16"]]


# The files of configs/paper


def test_the_rows_of_the_tables_are_there():
    found = {(row.paper, row.table, row.row) for row in ROWS}
    variants = {6: ("_llama2_7b", "_llama2_13b")}
    methods = {
        1: "full adapter adapterdrop bitfit lora lora_bitfit lst spot attempt mpt full_multi_task adapter_multi_task "
        "hyperformer hyperdecoder attempt_multi_task mpt_multi_task",
        2: "full adapter bitfit lora spot attempt mpt",
        3: "full adapter bitfit lora lst vl_p_tuning",
        4: "full adapter ia3 spot attempt mpt hyperformer",
        5: "mpt",
        6: "", 7: "", 8: "",
    }  # fmt: skip
    wanted = {
        ("dept", table, method + variant)
        for table, names in methods.items()
        for method in [*names.split(), "dept", *(["pt"] if table != 3 else [])]
        for variant in variants.get(table, ("",))
    }
    sizes = ("small", "base", "large")
    wanted |= {("dpt", 1, f"{name}_t5_{size}") for name in ("full", "pt", "residual_pt", "dpt") for size in sizes}
    wanted |= {("dpt", 4, f"residual_pt_t5_{size}") for size in sizes}
    fpt = {("fpt", 1, "pt_t5_large"), *(("fpt", 2, f"{kind}_t5_large") for kind in ("ld", "fr", "cr"))}
    assert found == wanted | fpt


def test_every_row_trains_the_method_of_its_name():
    inside = {"spot": "pt", "vl_p_tuning": "vl_p_tuning", "ld": "pt", "fr": "pt", "cr": "pt"}
    for row in ROWS:
        for cell in row.cells:
            name = cell.settings.get("inside", {}).get("name") or cell.settings["adapter"]["name"]
            method = row.method.removesuffix("_multi_task")
            assert name == inside.get(method, method), (row.path, cell.name)
            assert (cell.settings["adapter"]["name"] == "none") == ("inside" in cell.settings), row.path


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.paper}-{row.path.stem}")
def test_a_row_opens_with_its_command_scores_and_protocol(row):
    head = re.match(r"(#.*\n)+", row.path.read_text())[0]
    command = re.search(r"#   (python scripts/reproduce.py .*)", head)[1]
    said = dict(re.findall(r"--(\w+) (\S+)", command))
    assert said["table"] == str(row.table) and said["method"] in (row.method, row.row)
    assert said.get("paper", "dept") == row.paper and select(ROWS, table=row.table, method=said["method"])
    assert re.search(r"Protocol\b.*: ", head) and re.search(rf"Tables? {row.table}\b", head)
    printed = [mean.published for mean in row.means] or [next(iter(cell.published.values())) for cell in row.cells]
    assert all(f"{number}" in head for number in printed if row.table != 4)
    assert all(f"--{name}" in command for name in row.given)


def check_mean(where: str, label: str, printed: float, mean: float, digits: int) -> None:
    """Rounded to the digits that the table prints, or cut where it prints two, except for the papers' own slips."""
    wanted, within = OWN_MEANS.get((where, label, printed)), (0.501 if digits == 1 else 1) * 10**-digits
    if wanted is not None:
        assert mean == pytest.approx(wanted, abs=1e-6) and abs(mean - printed) > within
    else:
        assert abs(mean - printed) < within, (where, label, mean)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.paper}-{row.path.stem}")
def test_printed_means_are_the_means_of_the_cells(row):
    for mean in row.means:
        if all(cell.published for cell in row.cells):
            digits = 1 if row.paper == "dept" else 2
            check_mean(row.path.stem, mean.label, mean.published, mean_of(row, mean), digits)


@pytest.mark.parametrize(
    ("paper", "name", "mean", "score"),
    [
        ("dept", "table1_dept", "GLUE", 85.9),
        ("dept", "table1_dept", "SuperGLUE", 76.5),
        ("dept", "table2_dept", "MRQA", 73.0),
        ("dept", "table2_dept", "others", 86.3),
        ("dept", "table1_pt", "SuperGLUE", 60.0),
        ("dpt", "table1_dpt_t5_small", "SuperGLUE", 65.70),
        ("dpt", "table1_dpt_t5_base", "SuperGLUE", 71.88),
        ("dpt", "table1_dpt_t5_large", "SuperGLUE", 79.72),
        ("dpt", "table1_pt_t5_large", "SuperGLUE", 77.08),
        ("dpt", "table1_residual_pt_t5_base", "SuperGLUE", 71.41),
        ("fpt", "table1_pt_t5_large", "AVERAGE", 71.51),
        ("dept", "table7_dept", "GLUE", 86.4),
        ("dept", "table8_pt", "GLUE", 85.2),
    ],
)
def test_the_papers_means_are_known(paper, name, mean, score):
    assert {each.name: each.published for each in row_of(name, paper).means}[mean] == score


def test_logged_scores_round_to_the_printed_ones():
    logged = [
        (cell, metric) for row in ROWS for cell in row.cells for metric in cell.logged if metric in cell.published
    ]
    assert len(logged) == 17  # of the 17 tasks whose logs were released
    for cell, metric in logged:
        assert cell.logged[metric] == pytest.approx(cell.published[metric], abs=0.0501), cell.name


def test_logged_accuracies_are_counts_of_items():
    """CB is 26 of 28, so that one item is 3.57 points; WSC 35 of 52 is a constant answer."""
    counts = {}
    for cell in row_of("table1_dept").cells:
        if "accuracy" in cell.logged:
            right = cell.logged["accuracy"] / 100 * cell.items
            assert 100 * round(right) / cell.items == pytest.approx(cell.logged["accuracy"], abs=0.0051), cell.task
            counts[cell.task] = (round(right), cell.items)
    assert counts["superglue-cb"] == (26, 28) and counts["superglue-wsc.fixed"] == (35, 52)
    assert 100 / 28 == pytest.approx(3.57, abs=0.005) and len(counts) == 10


def test_dept_keeps_the_budget_of_pt_but_for_the_known_cells():
    for row in (row for row in ROWS if row.method == "dept" and row.table != 3):
        base = row.base[0].removeprefix("backbones/").removesuffix(".yaml")
        tokens = (
            row_of(f"table{row.table}_pt{'_' + row.variant if row.variant else ''}")
            .cells[0]
            .settings["adapter"]["args"]
        )
        for cell in row.cells:
            adapter = cell.settings["adapter"]["args"]
            m, r, s = (adapter[name] for name in ("num_virtual_tokens", "r", "max_length"))
            size = dept_size(d_model=WIDTH[base], max_length=s, num_virtual_tokens=m, r=r)
            wanted = OVER_BUDGET.get(cell.task, OVER_BUDGET.get(row.path.stem))
            if base == "t5_3b":
                wanted = 99_840  # below the 102,400 of PT
            assert size == (wanted or tokens["num_virtual_tokens"] * WIDTH[base]), (row.path.stem, cell.name)


def test_the_settings_of_the_logs_are_those_of_the_table():
    table = {
        "cola": (80, 15, 256, 0.3, 5e-4, 40_000), "mnli": (60, 30, 256, 0.3, 1e-4, 250_000),
        "mrpc": (60, 30, 256, 0.3, 5e-3, 10_000), "qnli": (60, 30, 256, 0.4, 5e-3, 100_000),
        "superglue-boolq": (40, 45, 256, 0.3, 5e-3, 30_000), "superglue-multirc": (60, 30, 348, 0.3, 5e-3, 30_000),
        "superglue-wic": (60, 30, 256, 0.3, 1e-3, 20_000), "hotpotqa": (60, 24, 512, 0.4, 1e-4, 250_000),
        "nq": (60, 24, 512, 0.3, 1e-4, 300_000),
    }  # fmt: skip
    for name in ("table1_dept", "table2_dept"):
        row = row_of(name)
        for cell in row.cells:
            if cell.task in table:
                merged = cell.settings
                adapter, rates = merged["adapter"]["args"], merged["optim"]["lr"]
                given = (adapter["num_virtual_tokens"], adapter["r"], adapter["max_length"], rates["prompt"])
                assert (*given, rates["low_rank"], merged["max_steps"]) == table.pop(cell.task)
                rows = merged["per_device_train_batch_size"] * merged.get("gradient_accumulation_steps", 1)
                assert rows == 32 and merged["task"]["max_source_length"] == adapter["max_length"]
    assert not table


def test_a_row_of_dpt_runs_100_epochs_and_evaluates_after_each():
    examples = {"superglue-wsc.fixed": 259, "superglue-cb": 250, "superglue-multirc": 27_243, "superglue-rte": 2490}
    for row in (row for row in ROWS if row.paper == "dpt"):
        for cell in row.cells:
            steps, every = cell.settings["max_steps"], cell.settings["eval_steps"]
            assert steps == 100 * every and every == cell.settings["save_steps"]
            if cell.task in examples:
                assert 16 * (every - 1) < examples[cell.task] <= 16 * every


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.title} {block.k}")
def test_printed_means_of_the_quoted_rows_are_means(block):
    """Read off the page: a wrong digit in a row shows in its mean. A column without a task is a mean."""
    for row in block.rows:
        since: list[float] = []
        for name, value in zip(block.columns, row.values, strict=True):
            if value is None:
                continue
            if name in ("GLUE", "SuperGLUE", "MRQA", "others", "AVERAGE"):
                digits = 1 if block.title.startswith("DePT") else 2
                check_mean(row.method, name, value, sum(since) / len(since), digits)
                since = []
            else:
                since.append(value)
