"""From a cell to a run: what is merged over what, what the check refuses, what is run and what is not run again."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from dept_vl.plans.load import Changes, load_plan
from dept_vl.plans.published import check_row, check_rows, load_rows
from dept_vl.plans.runs import make_schedule
from dept_vl.plans.settings import BadPlan
from dept_vl.tasks import TASKS

PAPERS = Path(__file__).resolve().parents[2] / "configs" / "paper"
ROWS = [row for paper in ("dept", "dpt", "fpt") for row in load_rows(PAPERS, paper)]


WHOLE = ("table1_full", "table1_lora", "table1_lora_bitfit", "table1_mpt", "table2_lora", "table2_spot", "table4_ia3")
"""Rows with all recipes between them: a cell of theirs differs from another row's in the method alone."""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.paper}-{row.path.stem}")
def test_every_cell_of_the_papers_fits_the_task_registry(row):
    whole = not row.quotes or row.table == 3 or row.path.stem in WHOLE  # 0.1 s a cell
    assert check_row(row if whole else dataclasses.replace(row, cells=row.cells[-1:])).endswith(": good")


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.paper == "dept" and row.table in (4, 5)], ids=lambda row: row.path.stem
)
def test_k_in_all_is_drawn_as_k_shot_of_each_class(row):
    for cell in row.cells:
        task = TASKS[cell.task]
        classes = len(task.label_names) or 2  # STS-B counts as two
        assert cell.settings["task"]["k_shot"] == cell.k // classes, cell.name
    assert all(cell.draws == (0, 1, 2) for cell in row.cells)


def config_of(row, number=0):
    """The experiment of a cell's first run."""
    schedule = make_schedule([row], Path("runs"))
    return next(
        schedule.runs[each.run].config for each in schedule.places[row.name] if each.cell == row.cells[number].name
    )


def test_a_cell_lies_over_its_row_files_between_and_flags_over_all(write_row):
    path = write_row(seeds=[7])
    cola, cb = (config_of(load_plan(path), number) for number in (0, 1))
    assert (cola.max_steps, cb.max_steps, cola.optim.lr, cb.optim.lr) == (30, 40, {"prompt": 0.3}, {"prompt": 0.4})
    assert (cola.optim.eps, cola.backbone.dropout, cb.metric_for_best_model) == (1e-7, True, "f1_macro")
    assert (cb.task.name, cb.task.protocol, cb.seed) == ("superglue-cb", "as_published", 7)
    files = {"max_steps": 50, "optim": {"eps": 1.0e-5, "warmup_steps": 3}}
    flags = {"bf16": True, "optim": {"warmup_steps": 4}}
    cola, changed = (config_of(load_plan(path, Changes(files, flags)), number) for number in (0, 1))
    assert (cola.max_steps, changed.max_steps) == (50, 40)
    assert (changed.optim.eps, changed.optim.warmup_steps, changed.bf16) == (1e-5, 4.0, True)
    assert (changed.optim.lr, changed.task) == (cb.optim.lr, cb.task)


@pytest.mark.parametrize("flags", [{"seed": 1}, {"output_dir": "x"}, {"task": {"draw": 1}}, {"task": {"name": "sst2"}}])
def test_what_the_row_keeps_for_itself_is_no_flag(flags, write_row):
    with pytest.raises(BadPlan, match="(seed|output_dir|task.draw|task.name): wanted"):
        load_plan(write_row(), Changes(flags=flags))


def test_a_file_does_not_change_the_task(write_row):
    with pytest.raises(BadPlan, match="task.name: wanted the plan's own tasks, given sst2"):
        load_plan(write_row(), Changes(files={"task": {"name": "sst2"}}))


DEPT = {"num_virtual_tokens": 3, "r": 2, "max_length": 8}
CELL = {"task": "cola", "published": {"matthews_correlation": 63.8}, "items": 522}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "colla"}, "cell colla: .*unknown task 'colla': .* Did you mean 'cola'"),
        (
            {"published": {"matthews_corelation": 1}},
            "cell cola: wanted a metric of matthews.*, given 'matthews_corelation'. Did you mean",
        ),
        ({"logged": {"accuracyy": 1}}, "given 'accuracyy'. Did you mean 'accuracy'"),
        ({"items": 521}, "cell cola: items: wanted the 522 of the test split under as_published, given 521"),
        ({"task": "vqa", "settings": {"task": {"protocol": "always"}}}, "cell vqa: "),
        ({"settings": {"task": {"protocol": "as_publishd"}}}, "cell cola: .*'as_publishd'"),
        ({"settings": {"metric_for_best_model": "f1"}}, "cell cola: metric_for_best_model: wanted one of matthews"),
        ({"settings": {"adapter": {"args": {"num_virtual_tokens": 0}}}}, "cell cola: .*num_virtual_tokens"),
        (
            {"settings": {"adapter": {"name": "dept", "args": DEPT}}},
            "cell cola: optim.lr: .*low_rank",
        ),
        ({"settings": {"max_steps": "many"}}, "cell cola: wanted an experiment .*max_steps"),
        ({"settings": {"max_steps": 5}}, "cell cola: wanted an experiment .*warmup_steps"),
    ],
)
def test_a_cell_that_cannot_be_run_is_told_with_its_file(changes, message, row):
    table = row(cells=[{**CELL, **changes}], means=None)
    with pytest.raises(BadPlan, match=message) as error:
        check_rows([table])
    assert str(error.value).startswith(f"{table.path}: ")


def test_all_rows_are_checked_before_anything_is_said(row):
    good, bad = row(), [row(f"table1_pt_{n}", cells=[{**CELL, "items": n}], means=None) for n in (1, 2)]
    assert check_rows([good]) == ["dept table 1 pt: 2 cells, 2 runs, as_published: good"]
    with pytest.raises(BadPlan, match=r"(?s)table1_pt_1.yaml: .*given 1\n.*table1_pt_2.yaml: .*given 2"):
        check_rows([bad[0], good, bad[1]])


def test_the_backbones_of_the_rows_are_the_published_ones():
    names = {}
    for path in (PAPERS.parent / "backbones").glob("*.yaml"):
        backbone = yaml.safe_load(path.read_text())["backbone"]
        names[path.stem] = (backbone["model_name_or_path"], backbone.get("kind"), backbone.get("pad_token"))
    assert names["t5_base"] == ("google-t5/t5-base", "seq2seq", None)
    assert names["t5_v1_1_large_lm_adapt"] == ("google/t5-large-lm-adapt", "seq2seq", None)
    assert names["gpt2_medium"] == ("openai-community/gpt2-medium", "causal", "<|endoftext|>")
    assert names["llama2_13b"] == ("meta-llama/Llama-2-13b-hf", "causal", "</s>")
    assert set(names) >= {"t5_small", "t5_large", "t5_3b", "t5_11b", "gpt2", "gpt2_large", "llama2_7b"}
