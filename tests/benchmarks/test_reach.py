"""Seconds to the score of a prompt of 100, read off runs that trained nothing: scores by rule."""

import json

import pytest

from benchmarks.reach import GOAL, PLAN, NotRun, reaching
from benchmarks.run import main
from benchmarks.setting import make
from dept_vl.plans.load import load_plan
from dept_vl.plans.runs import RESULTS, make_schedule
from tests.plans.fake_runs import leave_run

METHODS = {"PT-100", "DePT", "FPT + DePT", "ULPT", "LoRA"}
BEST = {"PT-100": 0.5, "DePT": 1.0, "FPT + DePT": 0.75, "ULPT": 0.5, "LoRA": 0.4}  # each method's at its best rate


@pytest.fixture
def finished(tmp_path):
    """All runs of the plan: a method's second rate is its best one, at 300 steps as at 900."""
    plan = load_plan(PLAN)
    schedule = make_schedule([plan], tmp_path)
    series = {cell.name: cell.series for cell in plan.cells}
    names = list(series)
    for place in schedule.places[plan.name]:
        run, method = schedule.runs[place.run], series[place.cell]
        best = names.index(place.cell) % 3 == 1 and run.config.max_steps == 300
        leave_run(run.config, lambda _, method=method, best=best: BEST[method] if best else BEST[method] / 2)
        path = run.folder / RESULTS
        results = json.loads(path.read_text())
        results["run_info"]["created_at"] = f"2026-12-0{place.seed}T00:00:00+00:00"
        results["meta_info"] = {"commit": "abc"}
        path.write_text(json.dumps(results))
    return tmp_path


def test_each_method_counts_at_its_best_rate_until_the_goals_score(finished):
    found = reaching(make("cpu", "float32", runs=finished))
    values = {line.what: line.spread.value for line in found.lines}
    assert values == pytest.approx({
        "PT-100 (PT-100 at 2) / PT-100": 1.0,
        "DePT (DePT at 2) / PT-100": 0.5,
        "FPT + DePT (FPT + DePT at 2) / PT-100": 0.7,  # of 300 steps, at the first evaluation beyond 200
        "ULPT (ULPT at 0.6) / PT-100": 1.0,
    })  # fmt: skip
    assert found.facts["never_reached"] == {"LoRA": [1, 2, 3]} and found.facts["goal"]["val"] == 0.5
    assert found.facts["not_measured"] == {
        "LoRA (LoRA at 3e-3) / PT-100": "it does not always arrive: seed 1 never, seed 2 never, seed 3 never"
    }
    assert [line.what.partition(" (")[0] for line in found.lines if line.target] == ["DePT"]
    assert found.made == {"date": "2026-12-03T00:00:00+00:00", "commit": "abc"}


def test_the_kept_row_has_the_date_and_the_commit_of_the_runs(finished, tmp_path):
    path = tmp_path / "results.json"
    main(["reach", "--runs", str(finished), "--output", str(path)])
    kept = json.loads(path.read_text())["measures"]["reach"]
    assert kept["surroundings"]["date"] == "2026-12-03T00:00:00+00:00" and kept["surroundings"]["commit"] == "abc"


def test_a_plan_that_is_not_finished_says_with_which_command(tmp_path):
    with pytest.raises(
        NotRun, match=r"wanted the 54 finished runs .* given 0, 54 left: python scripts/plan.py configs"
    ):
        reaching(make("cpu", "float32", runs=tmp_path))


def test_no_method_on_the_input_side_need_arrive(finished, monkeypatch):
    monkeypatch.setattr("benchmarks.reach.reach", lambda own, goal, measure: 100.0 if own is goal else None)
    found = reaching(make("cpu", "float32", runs=finished))
    assert [line.what for line in found.lines] == ["PT-100 (PT-100 at 2) / PT-100"]
    assert set(found.facts["never_reached"]) == METHODS - {GOAL}


def test_the_plan_has_three_rates_of_each_method_at_equal_steps():
    cells = load_plan(PLAN).cells
    assert {cell.series for cell in cells} == METHODS and GOAL in METHODS
    short = [cell.series for cell in cells if "steps" not in cell.name]
    assert all(short.count(each) == 3 for each in METHODS) and len(cells) == len(short) + 3
