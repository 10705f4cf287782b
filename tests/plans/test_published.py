"""Ours beside the published number: points, items, means, the whole table."""

import dataclasses

import pytest

from dept_vl.plans.published import Beside, MissingScore, beside, means, whole_table, why_absent
from dept_vl.plans.quoted import Block, Quoted
from dept_vl.plans.schema import Cell


def cell(task, published, items, **more):
    return Cell(task, task=task, tasks=(task,), published=published, items=items, **more)


CB = cell("superglue-cb", {"accuracy": 92.9}, 28, logged={"accuracy": 92.86})


def result(**scores):
    return {"metrics": {"test": {**scores, "protocol": "as_published", "warnings": []}}}


def test_one_item_of_cb_is_3_57_points():
    (line,) = beside(CB, [result(accuracy=25 / 28)])
    assert line.points == pytest.approx(-3.57, abs=0.01) and line.items_apart == -1.0
    (same,) = beside(CB, [result(accuracy=26 / 28)])
    assert same.points == pytest.approx(0, abs=0.01) and same.items_apart == 0.0
    assert str(same.items_apart) == "0.0"  # not -0.0
    assert beside(CB, [result(accuracy=1.0)])[0].items_apart == 2.0


def test_several_runs_are_compared_by_their_mean_with_its_spread():
    (line,) = beside(CB, [result(accuracy=right / 28) for right in (24, 26, 28)])
    assert line.ours == pytest.approx(100 * 26 / 28) and line.spread == pytest.approx(100 * 2 / 28) and line.runs == 3
    assert beside(CB, [result(accuracy=1.0)])[0].spread is None


@pytest.mark.parametrize(
    ("task", "metric", "counts_items"),
    [
        ("sst2", "accuracy", True),
        ("nq", "f1", True),  # a mean over items
        ("nq", "exact_match", True),
        ("superglue-multirc", "f1", False),  # of a class
        ("stsb", "pearson", False),
        ("cola", "matthews_correlation", False),
        ("superglue-cb", "f1_macro", False),
        ("xsum", "rougeL", True),
    ],
)
def test_only_means_over_items_are_told_in_items(task, metric, counts_items):
    (line,) = beside(cell(task, {metric: 50.0}, 200), [result(**{metric: 0.51})])
    assert line.points == pytest.approx(1.0) and line.items_apart == (2.0 if counts_items else None)


def test_a_line_says_all_of_it():
    (line,) = beside(CB, [result(accuracy=25 / 28)])
    said = " ".join(line.line().split())
    assert said == "superglue-cb accuracy paper 92.86 ours 89.29 -3.57 points = -1.0 of 28 items"
    few = Beside("cola k=4", "matthews_correlation", 29.3, 30.0, spread=1.5, runs=3)
    said = "cola k=4 matthews_correlation paper 29.3 ours 30.00 (sd 1.50, 3 runs) +0.70 points"
    assert " ".join(few.line().split()) == said


def test_every_published_metric_of_a_cell_is_compared():
    nq = cell("nq", {"f1": 73.2, "exact_match": 61.3}, 12_836)
    lines = beside(nq, [result(f1=0.7, exact_match=0.6)])
    assert [(line.metric, line.paper, round(line.points, 2)) for line in lines] == [
        ("f1", 73.2, -3.2), ("exact_match", 61.3, -1.3)
    ]  # fmt: skip


def test_a_missing_score_is_named():
    with pytest.raises(MissingScore, match="superglue-cb: wanted accuracy in results.json, given f1_macro"):
        beside(CB, [result(f1_macro=0.5)])


def test_a_cell_without_a_printed_number_has_ours_alone():
    (line,) = beside(cell("cola", None, 522), [result(matthews_correlation=0.6)])
    assert (line.metric, line.paper, line.points, line.items_apart) == ("matthews_correlation", None, None, None)
    assert " ".join(line.line().split()) == "cola matthews_correlation paper - ours 60.00"


def test_a_mean_waits_for_all_of_its_cells(row):
    assert means(row(), {"cola": 60.0}) == []
    (mean,) = means(row(), {"cola": 60.0, "superglue-cb": 90.0})
    assert (mean.label, mean.paper, mean.ours, mean.items_apart) == ("both", 78.3, 75.0, None)
    assert mean.points == pytest.approx(-3.3)


def test_the_whole_table_stands_beside_ours(row):
    block = Block(1, "Table 1", ("cola", "superglue-cb", "both"), (Quoted("LoRA", (63.3, None, 78.1), "3.8M"),))
    lines = whole_table(block, [row()], {"pt": {"cola": 60.0, "both": 75.0}}).splitlines()
    assert lines == [
        "Table 1",
        "",
        "| method | training | cola | cb | both | |",
        "|---|---|---|---|---|---|",
        "| LoRA (3.8M) | single-task | 63.3 | - | 78.1 | not run here |",
        "| pt | single-task | 63.8 | 92.9 | 78.3 | the paper |",
        "| pt | single-task | 60.00 | - | 75.00 | ours |",
    ]
    assert whole_table(block, [row()], {}).endswith("| pt | single-task | - | - | - | ours: not run yet |")
    other = Block(1, "Table 1", ("cola",), (Quoted("LoRA", (63.3,)),), variant="t5_small")
    assert "| pt |" not in whole_table(other, [row()], {}), "rows of another backbone do not belong to it"


def test_a_row_that_a_plan_quotes_stands_beside_ours_with_its_own_training(row):
    block = Block(1, "T", ("cola",), (Quoted("LoRA", (63.3,), "7.54", "multi-task"), Quoted("LST", (1.0,))))
    ours = dataclasses.replace(row(cells=[{"task": "cola", "published": {"accuracy": 63.3}, "items": 522}], means=None))
    ours = dataclasses.replace(ours, quotes="LoRA", training="single-task")
    assert whole_table(block, [ours], {"pt": {"cola": 60.0}}).splitlines()[4:] == [
        "| LST | single-task | 1.0 | not run here |",
        "| pt (7.54) | multi-task | 63.3 | the paper |",
        "| pt | single-task | 60.00 | ours |",
    ]


def test_a_table_of_one_k_takes_the_cells_of_that_k(row):
    cells = [{"task": "cola", "k": k, "published": {"accuracy": 10.0 * k}, "items": 522} for k in (4, 16)]
    few = row("table4_pt", table=4, cells=cells, means=None)
    block = Block(4, "Table 4, k = 16", ("cola",), (Quoted("MPT", (34.8,)),), k=16)
    lines = whole_table(block, [few], {"pt": {"cola k=4": 1.0, "cola k=16": 2.0}}).splitlines()
    assert lines[-2:] == ["| pt | single-task | 160.0 | the paper |", "| pt | single-task | 2.00 | ours |"]


def test_a_row_that_is_not_here_is_told_as_quoted_or_with_a_suggestion(row):
    block = Block(2, "Table 2", ("cola",), (Quoted("ld", (1.0,), here="not here yet"), Quoted("LoRA", (2.0,))))
    assert why_absent("ld", [row()], [block]) == "ld: not here yet"
    assert why_absent(None, [row()], [block]) == "ld: not here yet; LoRA: not run here"
    quoting = dataclasses.replace(row(), quotes="LoRA")
    assert why_absent("LoRA", [quoting], [block]) == "LoRA: --method pt"
    assert why_absent("ptt", [row()], [block]) == "ptt: wanted a row of pt with such a cell. Did you mean 'pt'?"
