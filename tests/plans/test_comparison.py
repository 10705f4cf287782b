"""The comparison of methods: known values, what is missing, PEFT's records, and the page."""

import dataclasses
import json
import re
import tarfile

import pytest

from dept_vl.plans.comparison import compare_methods, pscp
from dept_vl.plans.comparison_page import COLUMNS, write_comparison
from dept_vl.plans.figures import pareto
from dept_vl.plans.peft_records import peft_record
from dept_vl.plans.schema import Claim, Tune
from dept_vl.plans.tune import beside

GIVEN = {"total_time": 50.0, "created_at": "2026-11-30T19:20:04+00:00", "peft_config": {"num_virtual_tokens": 4}}


@pytest.fixture
def table(done):
    """`done` with what real runs have beside, and with costs."""
    for each in done.outcomes:
        each.results["weights"] |= {"backbone": 1_000_000}
        each.results["selection"] |= {"reported": "accuracy"}
        each.results["run_info"] |= {**GIVEN, "error_msg": ""}
        each.results["train_info"] |= {
            "steps": 40, "file_size": 2048, "status": "success", "accelerator_memory_max": 123,
        }  # fmt: skip
        each.results.update(adapter="pt", inside=None)
        each.results["meta_info"] = {"package_info": {"peft-version": "0.21"}, "dataset_info": {}, "system_info": {}}
        each.results["metrics"]["test"]["accuracy"] += {1: 0.01, 2: 0.0, 3: -0.01}[each.place.seed]
    costs = {name: {**cost, "folded_ms": [0.5, 0.7, 0.6], "eval_gflops": [10.0]} for name, cost in done.costs.items()}
    return dataclasses.replace(done, costs=costs, forgotten={done.outcomes[0].place: 0.25})


def test_pscp_of_an_example_computed_by_hand():
    """80 points, 5e8 weights, 10 TFLOPs and 94 GB: each factor is a half. Next to nothing takes nothing off."""
    assert pscp(80.0, 5e8, 10.0, 94.0) == pytest.approx(10.0)
    assert pscp(80.0, 76_800, 0.0, 0.0) == pytest.approx(80 / 1.0001536)
    assert pscp(80.0, 0.0, 0.0, 47.0) == pytest.approx(80 / 1.5)


def test_a_row_has_the_numbers_of_its_runs(table):
    best, other = compare_methods(table, "dept-vl plan first.yaml")
    assert (best.name, other.name) == ("long", "short"), "the highest score first"
    assert best.score.mean == pytest.approx(28.0) and best.score.sd == pytest.approx(9.0)
    assert best.weights == 750 and best.file_bytes == 2048 and best.seconds == 40
    assert (best.step_ms, best.folded_ms, best.answer_ms) == (22.0, 0.6, 2.0)
    assert best.memory_mb == pytest.approx(6.0 + 4 * (1_000_000 + 4 * 800) / 1e6)
    assert best.pscp == pytest.approx(pscp(28.0, 750, 0.01, best.memory_mb / 1e3))
    assert other.forgetting == 0.25 and best.forgetting is None
    assert best.command == 'dept-vl plan first.yaml --cells "long"' and len(best.runs) == 6
    assert {task: round(each.mean) for task, each in best.by_task.items()} == {"shapes-qnli": 28, "shapes-squad": 28}


def test_each_method_stands_beside_the_baseline_with_holms_correction(table):
    claim = Claim("long above short", "-", first=("long",), second=("short",))
    plan = dataclasses.replace(table.plan, baseline="short", claims=(claim,), paper="")
    for each in table.of("long"):
        each.results["metrics"]["test"]["accuracy"] += {1: 0.001, 2: -0.002, 3: 0.001}[each.place.seed]
    best, other = compare_methods(dataclasses.replace(table, plan=plan), "c")
    assert best.beside.value == pytest.approx(4.0) and best.beside.family == 1 and best.beside.verdict == "supported"
    column = next(each for each in COLUMNS if each.head == "above baseline")
    assert column.cell(best)[0].startswith("+4.0 [3.") and column.cell(best)[0].endswith("] *")
    assert other.beside is None and column.cell(other) == ("-", None)


def test_what_is_missing_is_said_and_counts_nowhere(table):
    kept = [e for e in table.outcomes if (e.place.cell, e.place.task, e.place.seed) != ("long", "shapes-squad", 2)]
    best = compare_methods(dataclasses.replace(table, outcomes=tuple(kept)), "c")[0]
    assert best.missing == ("shapes-squad: seeds 2",) and (best.finished, best.wanted) == (5, 6)
    assert len(best.score.values) == 2 and len(best.by_task["shapes-qnli"].values) == 3
    none = compare_methods(dataclasses.replace(table, outcomes=()), "c")
    assert all(each.score is None and each.finished == 0 for each in none)


def test_the_score_at_other_rates_is_compared_with_the_same_seeds(table):
    """The neighbour ran with seed 1 alone, whose own score is not the mean."""
    plan = table.plan
    near = dataclasses.replace(plan.cell("long"), name=beside("long", 3), seeds=(1,))
    plan = dataclasses.replace(plan, cells=(*plan.cells, near), tune=Tune(factors=(1,), around=(3,)))
    own = [each for each in table.of("long") if each.place.seed == 1]
    there = [
        dataclasses.replace(
            each,
            place=dataclasses.replace(each.place, cell=near.name),
            results={**each.results, "metrics": {"test": {"accuracy": each.test - 0.05}}},
        )
        for each in own
    ]
    found = compare_methods(dataclasses.replace(table, plan=plan, outcomes=(*table.outcomes, *there)), "c")
    assert [each.name for each in found] == ["long", "short"], "a neighbour is no row of its own"
    assert found[0].around == {3: pytest.approx(-5.0)}


def test_a_record_has_what_pefts_app_reads(table):
    record = peft_record(table.outcomes[0], "first", 0.25)
    json.dumps(record)
    run, train, meta = (record[name] for name in ("run_info", "train_info", "meta_info"))
    assert run["peft_config"]["peft_type"] == "PT" and run["train_config"]["model_id"]
    for name in ("experiment_name", "peft_branch", "created_at", "total_time"):
        assert run[name], name
    for name in ("accelerator_memory_reserved_avg", "accelerator_memory_max", "accelerator_memory_reserved_99th"):
        assert isinstance(train[name], int)
    last = train["metrics"][-1]
    assert last["test accuracy"] == table.outcomes[0].test and last["forgetting"] == 0.25
    assert {"train loss", "train samples", "train total tokens"} <= set(last) and last["train samples"] == 40 * 64
    for name in ("peft", "transformers", "datasets", "torch", "bitsandbytes"):
        assert f"{name}-version" in meta["package_info"]


def test_nothing_on_the_front_is_beaten_at_its_price():
    points = [(1, 5.0), (2, 4.0), (2, 7.0), (3, 7.0), (4, 9.0)]
    assert pareto(points) == [(1, 5.0), (2, 7.0), (4, 9.0)]


def test_the_page_has_every_method_and_no_other_file(table, tmp_path):
    kept = [each for each in table.outcomes if each.place.seed < 3 or each.place.cell == "short"]
    write_comparison([(dataclasses.replace(table, outcomes=tuple(kept)), "--jobs 2")], tmp_path)
    text, html = (tmp_path / "comparison.md").read_text(), (tmp_path / "comparison.html").read_text()
    assert "10 of 12 runs are finished." in text and "- long: shapes-qnli: seeds 3; shapes-squad: seeds 3" in text
    assert re.search(r"^\| short \| 24\.0 \[1\.\d, 46\.\d\] \|", text, re.M)
    assert "first.yaml --jobs 2 --cells" in text and "| method | shapes-qnli | shapes-squad |" in text
    for link in re.findall(r"\]\(([^)]+\.png)\)", text):
        assert (tmp_path / link).is_file()
    assert not re.search(r"(src|href)=\"(?!data:)|@import|url\(", html) and html.count("<tr>") > 4
    heads = re.findall(r"<th title[^>]*><button>([^<]+)<", html)
    assert set(heads) == {column.head for column in COLUMNS} - {"above baseline", "lower rates", "higher rates"}, (
        "columns with numbers"
    )
    with tarfile.open(tmp_path / "comparison" / "first.tar.xz") as records:
        names = records.getnames()
        assert len(names) == 10 and json.load(records.extractfile(names[0]))["run_info"]["peft_config"]
