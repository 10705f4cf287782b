"""The committed plans are plans, and what is wrong in a file is told with the file and the key."""

from pathlib import Path

import pytest

from dept_vl.adapters import ResidualPromptTuning
from dept_vl.adapters.budget import budget, dept_size
from dept_vl.plans.claims import judge
from dept_vl.plans.load import Changes, load_plan, load_plans
from dept_vl.plans.papers import select_plans
from dept_vl.plans.runs import make_schedule
from dept_vl.plans.settings import BadPlan
from dept_vl.plans.significance import repeats_needed
from dept_vl.plans.table import Table, check_measure
from dept_vl.plans.tune import trials
from dept_vl.run import check

PLANS = Path(__file__).resolve().parents[2] / "configs" / "plans"
COMPARISONS = sorted(PLANS.parent.glob("comparison/*.yaml"))
COMMITTED = {name: plan for name, plan in load_plans(PLANS).items() if plan.paper}


@pytest.mark.parametrize("plan", COMMITTED.values(), ids=list(COMMITTED))
def test_every_committed_plan_makes_experiments_of_known_sizes(plan):
    for run in make_schedule([plan], Path("runs/none")).runs.values():
        if run.after is None:
            check(run.config)
    for fast in make_schedule([load_plan(plan.path, Changes(fast=True))], Path("runs/none")).runs.values():
        assert fast.config.max_steps <= 20


@pytest.mark.parametrize("plan", COMMITTED.values(), ids=list(COMMITTED))
def test_every_committed_claim_and_plot_names_measures_that_there_are(plan):
    for claim in plan.claims:
        assert judge(Table(plan, (), ()), claim).value is None
    for plot in plan.plots:
        if plot.kind in ("bars", "line", "scatter"):
            for measure in plot.y:
                check_measure(plot.title, measure)


@pytest.mark.parametrize("plan", COMMITTED.values(), ids=list(COMMITTED))
def test_every_committed_study_has_ten_repeats_and_says_how_many_it_would_take(plan):
    """Twenty where a spread over seeds is claimed; a margin stands in the file, and is no share of a run's spread."""
    repeats = {cell.name: len(cell.seeds) * len(cell.draws) for cell in plan.compared()}
    for claim in plan.claims:
        for name in (*claim.first, *claim.second):
            assert repeats[name] >= (20 if claim.kind == "steadier" else 10)
    noisy = [claim for claim in plan.claims if claim.kind in ("more", "no_worse") and claim.measure == "score"]
    assert (plan.planned is not None) == bool(noisy)
    if plan.planned is not None:
        assert plan.planned.seeds == repeats_needed(plan.planned.sd, plan.planned.difference)


@pytest.mark.parametrize("path", COMPARISONS, ids=[path.stem for path in COMPARISONS])
def test_every_committed_comparison_tunes_all_methods_alike(path):
    plan = load_plan(path)
    trial = trials(plan)
    each = {cell.name: sum(of.name.startswith(f"{cell.name}, ") for of in trial.cells) for cell in plan.cells}
    few = {"projection alone": 1, "zero-shot": 0, "4-shot": 0}  # which have no rates of their own
    assert all(number == few.get(name, len(plan.tune.factors)) for name, number in each.items())
    assert len(plan.cells) >= 10
    assert plan.view == "comparison" and {"score", "forgetting"} <= set(plan.cells[0].measure)
    schedule = make_schedule([trial], Path("runs/none"))
    assert all(run.config.eval_steps == run.config.max_steps for run in schedule.runs.values()), "validation chooses"
    if path.stem.startswith("tiny"):
        one_of = {each.cell: each.run for each in schedule.places[trial.name]}  # tasks, seeds and factors are alike
        for key in list(one_of.values())[:: len(plan.tune.factors)]:
            check(schedule.runs[key].config)


def test_nothing_trains_longer_in_a_cell_of_the_frozen_model(tmp_path):
    path = tmp_path / "frozen.yaml"
    cells = "cells: [{name: alone, settings: {max_steps: 0, adapter: {name: none}}}, {name: dept}]\n"
    path.write_text(f"{cells}tasks: [shapes-rte]\nmeasure: [score, costs, forgetting]\n")
    for changes, steps in ((Changes(fast=True), 12), (Changes(flags={"max_steps": 7}), 7)):
        plan = load_plan(path, changes)
        assert [each.settings["max_steps"] for each in plan.cells] == [0, steps]
        assert [each.measure for each in plan.cells] == [("score",), ("score", "costs", "forgetting")]
        assert make_schedule([plan], Path("runs/none")).runs, "experiments, as --fast warms up too"


def test_plans_share_the_runs_that_they_have_in_common():
    schedule = make_schedule(COMMITTED.values(), Path("runs/none"))
    places = sum(len(each) for each in schedule.places.values())
    assert len(schedule.runs) < places
    baseline = {
        place.run
        for name in ("dept_table1", "dept_figure3_4", "dept_figure6", "fpt_table2")
        for place in schedule.places[name]
        if (place.cell, place.task, place.seed) == ("PT", "shapes-squad", 1)
    }  # fmt: skip
    assert len(baseline) == 1
    (source,) = {run.after for run in schedule.runs.values() if run.after and run.config.adapter.name == "dept"}
    assert source in {place.run for place in schedule.places["dept_table1"] if place.cell == "DePT"}, (
        "no source of its own"
    )


def test_cells_at_one_budget_keep_it():
    """m d + (s + d) r = l d with d = 128, s = 64 and l = 20, or 40 in Table 8."""
    for name, tokens in (("dept_figure3_4", 20), ("dept_table8", 40)):
        for cell in COMMITTED[name].cells:
            size = cell.settings["adapter"]["args"]
            if cell.settings["adapter"]["name"] == "dept" and cell.same_as is None:
                given = {"d_model": 128} | {name: size[name] for name in ("max_length", "num_virtual_tokens")}
                assert size["r"] == budget(tokens, **given)
                assert dept_size(r=size["r"], **given) <= tokens * 128


@pytest.mark.parametrize(
    ("d_model", "ten", "hundred"), [(512, "416K", "462K"), (768, "624K", "693K"), (1024, "832K", "925K")]
)
def test_residual_prompts_have_the_published_weights(d_model, ten, hundred):
    """DPT, Tables 1 and 4: bottleneck 400, T5-small, base and large; printed in thousands, cut off."""
    import torch

    for tokens, published in ((10, ten), (100, hundred)):
        adapter = ResidualPromptTuning(torch.zeros(tokens, d_model), num_virtual_tokens=tokens, bottleneck=400)
        weights = sum(each.numel() for group in adapter.param_groups().values() for each in group)
        assert f"{weights // 1000}K" == published


def test_a_cell_holds_base_plan_and_own_settings_in_that_order(plans):
    short, long = plans["first"].cells
    assert short.settings["adapter"] == {"name": "pt", "args": {"num_virtual_tokens": 4}}
    assert (
        long.settings["adapter"] == {"name": "pt", "args": {"num_virtual_tokens": 8}}
        and long.settings["max_steps"] == 40
    )
    assert (long.tasks, long.seeds, long.draws) == (("shapes-qnli", "shapes-squad"), (1, 2, 3), (0,))
    assert [cell.name for cell in plans["second"].compared()] == ["scratch", "carried"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title: First", "titel: First", r"first.yaml: unknown key titel.* Did you mean 'title'"),
        ("name: long, at", "name: long, att", r"first.yaml: cell long: unknown key att.* Did you mean 'at'"),
        ("name: long, at", "name: short, at", "wanted each cell once, given short twice"),
        ("first: [long]", "first: [lonk]", r"claim long wins: .* given 'lonk'.* Did you mean 'long'"),
        ("kind: bars", "kind: bar", r"plot Bars: kind: wanted one of bars.*given 'bar'"),
        ("kind: cannot, why: one model", "kind: cannot", "claim never told: wanted why, given none"),
        ("2 against 1,", "two, kind: below,", "margin: wanted a number for below, given none"),
        ("y_labels: [score]", "y_labels: [a, b]", "wanted a label for each of 1 measures, given 2"),
        ("settings: {adapter", "same_as: first/short, settings: {adapter", "wanted same_as alone"),
        ("[../base.yaml]", "[../bace.yaml]", "bace.yaml: wanted a YAML file"),
        ("at: 8,", "at: 8, measure: cost,", "measure: wanted one of score, costs, forgetting, given 'cost'"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_by_name(configs, old, new, message):
    path = configs / "plans" / "first.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(BadPlan, match=message):
        load_plans(configs / "plans")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("first/short", "frist/short", r"same_as: wanted a plan, given 'frist'.* Did you mean 'first'"),
        ("first/short", "first/shirt", r"same_as: wanted a cell of first, given 'shirt'.* Did you mean 'short'"),
        ("first/short", "second/carried", "wanted the cell that holds the settings, given second/carried"),
        (", draws: [0]}", "}", "cell source: draws: wanted a few-shot task"),
    ],
)  # fmt: skip
def test_a_wrong_link_between_cells_is_refused(configs, old, new, message):
    path = configs / "plans" / "second.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(BadPlan, match=message):
        load_plans(configs / "plans")


def test_settings_that_make_no_experiment_are_refused_with_their_cell(configs, tmp_path):
    path = configs / "plans" / "first.yaml"
    path.write_text(path.read_text().replace("args: {num_virtual_tokens: 8}", "arg: {}"))
    with pytest.raises(BadPlan, match=r"first.yaml: cell long: settings.adapter.arg: .* Did you mean 'args'"):
        make_schedule(load_plans(configs / "plans").values(), tmp_path)


def test_plans_are_chosen_by_what_they_show(plans):
    assert [each.name for each in select_plans(plans, paper="dept", shows="figure 5", name=None)] == ["first"]
    assert [each.name for each in select_plans(plans, paper=None, shows=None, name=None)] == ["first", "second"]
    with pytest.raises(BadPlan, match="given dept figure 6.* Did you mean 'dept figure 5'"):
        select_plans(plans, paper="dept", shows="figure 6", name=None)
    with pytest.raises(BadPlan, match="given 'frist'.* Did you mean 'first'"):
        select_plans(plans, paper=None, shows=None, name="frist")


BORROWING = """
cells_of: first.yaml
without: [short]
measure: [score, costs]
experiment: {max_steps: 7}
cells:
  - {name: long, settings: {adapter: {args: {num_virtual_tokens: 9}}}}
  - {name: own, measure: [score]}
"""


def test_a_plan_may_take_its_cells_from_another(configs):
    path = configs / "plans" / "third.yaml"
    path.write_text(BORROWING)
    plan = load_plan(path)
    assert [cell.name for cell in plan.cells] == ["long", "own"] and plan.cell("long").at == 8
    assert plan.cell("long").settings["adapter"]["args"] == {"num_virtual_tokens": 9}
    assert plan.cell("long").settings["max_steps"] == 7, "the other plan's base and experiment stay its own"
    assert (plan.cell("long").measure, plan.cell("own").measure) == (("score", "costs"), ("score", "costs"))
    for old, new, message in (
        ("[short]", "[shirt]", r"without: wanted a cell of .*first.yaml, given 'shirt'.* Did you mean 'short'"),
        ("cells_of: first.yaml\n", "", "without: wanted cells_of beside it, given none"),
    ):
        path.write_text(BORROWING.replace(old, new))
        with pytest.raises(BadPlan, match=message):
            load_plan(path)


def test_every_other_cell_is_claimed_to_be_above_the_baseline(configs):
    path = configs / "plans/first.yaml"
    path.write_text(path.read_text() + "baseline: short\n")
    *_, last = load_plan(path).claims
    assert (last.first, last.second, last.kind) == (("long",), ("short",), "more")
    path.write_text(path.read_text().replace("baseline: short", "baseline: shrot"))
    with pytest.raises(BadPlan, match="baseline: wanted a cell of first, given 'shrot'. Did you mean 'short'"):
        load_plan(path)


def test_a_cell_taken_as_it_is_has_no_stop_of_its_own(configs):
    path = configs / "plans/second.yaml"
    path.write_text(path.read_text().replace("same_as: first/short,", "same_as: first/short, stop: {steps: 5},"))
    with pytest.raises(BadPlan, match="wanted same_as alone, given settings, base, needs, sources, stop or a grid"):
        load_plan(path)
