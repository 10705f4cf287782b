"""The single values beside a page give the same verdicts as the runs, and no others."""

import dataclasses
import math

import pytest

from dept_vl.plans.claims import judge
from dept_vl.plans.execute import How, do
from dept_vl.plans.item_error import item_error
from dept_vl.plans.runs import make_schedule
from dept_vl.plans.settings import BadPlan
from dept_vl.plans.store import NAME, as_csv, given_values, known_runs, read_values, with_stored
from dept_vl.plans.table import Table, values


@pytest.fixture
def path(done, tmp_path):
    (tmp_path / NAME).write_text(as_csv([done]))
    return tmp_path / NAME


def test_stored_values_give_the_verdicts_of_the_runs(done, path):
    stored = with_stored(Table(done.plan, (), done.wanted), read_values(path))
    assert stored.finished == done.finished == 12
    for claim in (*done.plan.claims, dataclasses.replace(done.plan.claims[0], kind="steadier")):
        assert judge(stored, claim) == judge(done, claim)
    for measure in ("score", "weights", "train_seconds"):
        assert values(stored, measure, ["long"]) == values(done, measure, ["long"])


def test_a_comparison_keeps_costs_and_what_other_items_would_change(done, path, monkeypatch):
    """The error over items needs predictions, which a page made elsewhere has no more."""
    plan = dataclasses.replace(done.plan, view="comparison")
    table = dataclasses.replace(done, plan=plan)

    def error(table, first, second, tasks):
        return 0.1 + sum(map(len, tasks[:1])) / 100, 50

    monkeypatch.setattr("dept_vl.plans.store.item_error", error)
    path.write_text(as_csv([table]))
    stored = with_stored(Table(plan, (), done.wanted), read_values(path))
    tasks = plan.cell("long").tasks
    assert item_error(stored, ["long"], tasks=tasks[:1]) == (0.1 + len(tasks[0]) / 100, 50)
    error, items = item_error(stored, ["long"])
    assert items == 100 and error == pytest.approx(math.hypot(*(0.1 + len(task) / 100 for task in tasks)) / 2)
    assert item_error(stored, ["long"], ["short"]) is None
    assert values(stored, "cost_train_ms", ["long"]) == values(done, "cost_train_ms", ["long"]) != {}
    costs = [row for row in read_values(path) if row["measure"].startswith("cost_")]
    alone = with_stored(Table(plan, (), done.wanted), costs)
    assert alone.finished == 0 and values(alone, "cost_train_ms", ["long"]), "a plan of costs alone has no scores"
    other = tuple(dataclasses.replace(each, run=each.run + "0") for each in done.wanted)
    assert with_stored(Table(plan, (), other), read_values(path)).stored is None, "costs are of settings too"


def test_where_the_runs_are_they_count(done, path):
    assert with_stored(done, read_values(path)).stored is None


def test_values_of_other_settings_are_left_out(done, path):
    """A run's name ends in a hash of its settings."""
    moved = tuple(dataclasses.replace(each, run=each.run + "0") for each in done.wanted)
    assert with_stored(Table(done.plan, (), moved), read_values(path)).stored is None
    unnamed = [{**row, "run": ""} for row in read_values(path)]
    assert with_stored(Table(done.plan, (), moved), unnamed).finished == 12


def test_rows_of_a_stored_table_stay_as_they_are(done, path):
    rows = read_values(path)
    stored = with_stored(Table(done.plan, (), done.wanted), rows)
    assert as_csv([stored], rows) == path.read_text()


def test_a_file_that_is_no_such_table_is_refused(path, tmp_path):
    assert read_values(tmp_path / "none.csv") == []
    good = path.read_text()
    path.write_text(good.replace("seed,", "sead,", 1))
    with pytest.raises(BadPlan, match="wanted the columns plan,cell"):
        read_values(path)
    lines = good.splitlines()
    path.write_text("\n".join([*lines[:2], lines[2].replace(",1,0,", ",one,0,").replace(",2,0,", ",one,0,"), ""]))
    with pytest.raises(BadPlan, match="line 3: wanted seed, draw and value"):
        read_values(path)


def test_fewer_runs_than_were_recorded_do_not_take_their_place(done, path):
    rows, few = read_values(path), dataclasses.replace(done, outcomes=done.outcomes[:3])
    stored = with_stored(few, rows)
    assert stored.finished == 12 and as_csv([stored], rows) == path.read_text()
    few.outcomes[0].results["metrics"]["test"]["accuracy"] = 0.99
    newer = with_stored(few, rows)
    place = few.outcomes[0].place
    assert values(newer, "score", [place.cell], tasks=[place.task])[place.seed, place.draw] == 99.0, (
        "what is here counts"
    )
    assert (
        sum(a != b for a, b in zip(as_csv([newer], rows).splitlines(), path.read_text().splitlines(), strict=True)) == 1
    )
    kept = as_csv([], rows)
    assert kept == path.read_text(), "plans that are not asked for stay"


def test_a_verdict_from_stored_values_counts_the_items_as_that_of_the_runs(done, path, monkeypatch):
    for each, noise in zip(done.outcomes, (0.3, -0.4, 0.1) * 4, strict=True):
        each.results["metrics"]["test"]["accuracy"] += noise / 100

    def error(table, first, second=(), *, tasks=(), claim=""):
        return (3.0, 50) if table.stored is None else item_error(table, first, second, tasks=tasks, claim=claim)

    monkeypatch.setattr("dept_vl.plans.claims.item_error", error)
    monkeypatch.setattr("dept_vl.plans.store.item_error", error)
    path.write_text(as_csv([done]))
    stored = with_stored(Table(done.plan, (), done.wanted), read_values(path))
    there, kept = judge(done, done.plan.claims[0]), judge(stored, done.plan.claims[0])
    assert there == kept and "50 items" in kept.test


def test_a_plan_is_done_piece_by_piece_and_ends_as_if_done_at_once(done, path):
    """Seed 1 on one machine, the rest on another that has its values alone."""
    whole, half = path.read_text(), len(done.outcomes) // 2
    first = dataclasses.replace(done, outcomes=done.outcomes[:half])
    path.write_text(as_csv([first]))
    second = with_stored(dataclasses.replace(done, outcomes=done.outcomes[half:]), read_values(path))
    assert second.finished == 12 and first.finished == 6
    assert judge(second, done.plan.claims[0]) == judge(done, done.plan.claims[0])
    assert sorted(as_csv([second], read_values(path)).splitlines()) == sorted(whole.splitlines())


def test_rounds_of_a_timing_are_not_mixed(done, path):
    costs = {"short": {"train_ms": [7.0]}, "long": done.costs["long"]}
    plan = dataclasses.replace(done.plan, view="comparison")
    path.write_text(as_csv([dataclasses.replace(done, plan=plan)]))
    newer = with_stored(Table(plan, (), done.wanted, costs), read_values(path))
    assert values(newer, "cost_train_ms", ["short"]) == {(0, 0): 7.0} and newer.finished == 12
    text = as_csv([newer], read_values(path))
    assert text.count("cost_train_ms") == 1 + 3 and text.count(",score,") == 12


def test_runs_whose_values_are_kept_are_not_done(plans, done, path, tmp_path):
    rows = [row for row in read_values(path) if row["seed"] != "3"]
    schedule = make_schedule([plans["first"]], tmp_path / "elsewhere")
    known = known_runs([plans["first"]], schedule, rows)
    assert known == {each.run for each in done.wanted if each.seed < 3}
    ran, said = [], []
    do([plans["first"]], schedule, How(tmp_path / "elsewhere", said.append, values=rows, work=ran.append))
    assert {config.seed for config in ran} == {3} and len(ran) == 4
    assert said[-6:-4] == ["8 runs are not done, since their values are kept", "4 runs, 0 of them finished before"]
    with pytest.raises(BadPlan, match="--values: are of whole runs"):
        How(tmp_path, said.append, fast=True, values=rows)
    with pytest.raises(BadPlan, match="--values: wanted the values.csv of a page, given .*none.csv"):
        given_values(tmp_path / "none.csv")


def test_a_run_that_another_starts_from_is_done_again(plans, done, path, tmp_path):
    """Of its values alone no run can start."""
    schedule = make_schedule([plans["first"]], tmp_path / "elsewhere")
    first, last = (next(each.run for each in done.wanted if each.seed == seed) for seed in (1, 3))
    schedule.runs[last] = dataclasses.replace(schedule.runs[last], after=first)
    rows = [row for row in read_values(path) if row["seed"] != "3"]
    assert first not in known_runs([plans["first"]], schedule, rows)
    assert first in known_runs([plans["first"]], schedule, read_values(path))


def test_what_only_the_rows_know_stays_though_all_runs_are_here(done, path):
    """Costs and forgetting take time, and were measured elsewhere."""
    plan = dataclasses.replace(done.plan, view="comparison")
    forgotten = {each.place: 0.25 for each in done.outcomes}
    path.write_text(as_csv([dataclasses.replace(done, plan=plan, forgotten=forgotten)]))
    here = dataclasses.replace(done, plan=plan, costs=None, forgotten={})
    again = with_stored(here, read_values(path))
    assert values(again, "cost_train_ms", ["long"]) and values(again, "forgetting", ["long"]) == {
        (seed, 0): 0.25 for seed in (1, 2, 3)
    }
    assert sorted(as_csv([again], read_values(path)).splitlines()) == sorted(path.read_text().splitlines())
    other = dataclasses.replace(again, plan=dataclasses.replace(plan, forgetting="other.txt"))
    assert not values(other, "forgetting", ["long"]), "it is of its text"


def test_values_that_name_no_run_are_shown_but_neither_known_nor_joined(plans, done, path, tmp_path):
    """Nothing tells with what settings they were made."""
    unnamed = [{**row, "run": ""} for row in read_values(path)]
    schedule = make_schedule([plans["first"]], tmp_path / "elsewhere")
    assert known_runs([plans["first"]], schedule, unnamed) == set()
    few = dataclasses.replace(done, outcomes=done.outcomes[:3])
    few.outcomes[0].results["metrics"]["test"]["accuracy"] = 0.99
    shown = with_stored(few, unnamed)
    place = few.outcomes[0].place
    assert shown.finished == 12 and values(shown, "score", [place.cell], tasks=[place.task])[1, 0] != 99.0
    text = as_csv([shown], unnamed)
    assert text.count(",score,") == 12 + 3, "the new ones wait until they are more"
    path.write_text(text)
    rest = dataclasses.replace(done, outcomes=done.outcomes[3:])
    whole = with_stored(rest, read_values(path))
    assert values(whole, "score", [place.cell], tasks=[place.task])[1, 0] == 99.0 and whole.finished == 12


def test_a_run_whose_forgetting_or_claimed_measure_is_missing_is_done(plans, done, path, tmp_path):
    cells = tuple(dataclasses.replace(each, measure=("score", "forgetting")) for each in plans["first"].cells)
    plan = dataclasses.replace(plans["first"], cells=cells)
    schedule = make_schedule([plan], tmp_path / "elsewhere")
    assert len(known_runs([plans["first"]], schedule, read_values(path))) == 12
    assert known_runs([plan], schedule, read_values(path)) == set()
    claim = dataclasses.replace(plan.claims[0], measure="rank_last")
    asked = dataclasses.replace(plans["first"], claims=(claim,))
    assert known_runs([asked], schedule, read_values(path)) == set()


def test_an_error_over_items_is_of_these_settings_and_most_seeds(done, path, monkeypatch):
    plan = dataclasses.replace(done.plan, view="comparison")
    errors = {"long": 9.0, "short": 9.0}

    def error(table, first, second, tasks):
        return (errors[first[0]], 50) if table.outcomes else None

    monkeypatch.setattr("dept_vl.plans.store.item_error", error)
    one = tuple(each for each in done.outcomes if each.place.seed == 1)
    path.write_text(as_csv([dataclasses.replace(done, plan=plan, outcomes=one)]))
    errors |= {"long": 1.0, "short": 1.0}
    two = dataclasses.replace(done, plan=plan, outcomes=tuple(each for each in done.outcomes if each.place.seed > 1))
    task = plan.cell("long").tasks[0]
    assert item_error(with_stored(two, read_values(path)), ["long"], tasks=[task])[0] == 1.0, "of two seeds, not of one"
    moved = tuple(dataclasses.replace(each, run=each.run + "0" * (each.cell == "short")) for each in done.wanted)
    changed = with_stored(Table(plan, (), moved), read_values(path))
    assert item_error(changed, ["long"], tasks=[task])[0] == 9.0
    assert item_error(changed, ["short"], tasks=[task]) is None
    claim = plan.claims[0]
    assert item_error(changed, claim.first, claim.second, claim=claim.name) is None, "its second side is another"
