"""Rates chosen on validation by as many trials for every cell, and what runs at them."""

import dataclasses

import pytest
import yaml

from dept_vl.plans.load import load_plan
from dept_vl.plans.runs import make_schedule
from dept_vl.plans.settings import BadPlan
from dept_vl.plans.table import read_table
from dept_vl.plans.tune import beside, choose, trials, tuned
from tests.plans.fake_runs import leave_run

PLAN = {
    "tasks": ["shapes-rte"],
    "seeds": [1, 2],
    "experiment": {"max_steps": 20, "eval_steps": 0},
    "cells": [
        {"name": "pt", "settings": {"adapter": {"name": "pt", "args": {"num_virtual_tokens": 3}},
                                    "optim": {"lr": {"prompt": 0.2, "projection": 0.003}}}},
        {"name": "dept", "settings": {"optim": {"lr": {"prompt": 2.0, "low_rank": 0.01}}}},
    ],
    "tune": {"factors": [0.1, 1, 10], "seeds": [101, 102], "around": [0.3333, 3], "around_seeds": [1]},
}  # fmt: skip


@pytest.fixture
def plan(tmp_path):
    """plan(**changes)"""

    def plan(**changes):
        path = tmp_path / "tuned.yaml"
        path.write_text(yaml.safe_dump({**PLAN, **changes}))
        return load_plan(path)

    return plan


def done(plan, root, val, test=lambda config: 0.5):
    schedule = make_schedule([plan], root)
    for run in schedule.runs.values():
        leave_run(run.config, test, val)
    return read_table(plan, schedule, root)


def rate(config):
    return config.optim.lr["prompt"]


def test_every_cell_has_the_same_number_of_trials_at_multiples_of_its_own_rates(plan):
    trial = trials(plan())
    assert [cell.name for cell in trial.cells][:3] == ["pt, rates x 0.1", "pt, rates x 1", "pt, rates x 10"]
    rates = [cell.settings["optim"]["lr"] for cell in trial.cells]
    assert rates[0] == {"prompt": 0.02, "projection": 0.003}, "the projection's belongs to no method"
    assert rates[-1] == {"prompt": 20.0, "low_rank": 0.1}
    assert {(cell.seeds, cell.settings["eval_steps"]) for cell in trial.cells} == {((101, 102), 20)}


def test_a_cell_in_which_nothing_trains_has_no_trials_and_no_neighbours(plan, tmp_path):
    frozen = {"name": "frozen", "settings": {"max_steps": 0, "adapter": {"name": "none", "args": {}}}}
    given = plan(cells=[frozen, PLAN["cells"][1]])
    assert {cell.name.split(",")[0] for cell in trials(given).cells} == {"dept"}
    chosen = choose(given, done(trials(given), tmp_path, lambda config: 0.5))
    assert (chosen["frozen"].trials, chosen["dept"].trials) == (0, 6)
    first = tuned(given, chosen).cells[0]
    assert (first.name, first.seeds, first.settings["max_steps"]) == ("frozen", (1, 2), 0)
    assert [cell.name for cell in tuned(given, chosen).cells][1] == "dept"


def test_validation_chooses_and_the_test_split_never_does(plan, tmp_path):
    given = plan()
    table = done(trials(given), tmp_path, lambda config: 1 / (1 + abs(rate(config) - 2.0)), test=rate)
    chosen = choose(given, table)
    assert {name: each.factor for name, each in chosen.items()} == {"pt": 10, "dept": 1}
    assert chosen["pt"].at_edge and not chosen["dept"].at_edge and chosen["pt"].trials == 6


def test_the_plans_seeds_run_at_the_chosen_rates_and_beside_them(plan, tmp_path):
    given = plan()
    table = done(trials(given), tmp_path, lambda config: 1 / (1 + abs(rate(config) - 2.0)))
    final = tuned(given, choose(given, table))
    names = [name for cell in ("pt", "dept") for name in (cell, beside(cell, 0.3333), beside(cell, 3))]
    assert [cell.name for cell in final.cells] == names
    assert [cell.settings["optim"]["lr"]["prompt"] for cell in final.cells] == pytest.approx(
        [2.0, 0.6666, 6.0, 2.0, 0.6666, 6.0]
    )
    assert [cell.seeds for cell in final.cells] == [(1, 2), (1,), (1,)] * 2
    assert final.cells[0].settings["eval_steps"] == 0, "what trials need is theirs alone"


def test_a_cell_whose_trials_are_not_all_finished_has_no_rates_yet(plan, tmp_path):
    given = plan()
    table = done(trials(given), tmp_path, rate)
    left = [each for each in table.outcomes if (each.place.cell, each.place.seed) != ("pt, rates x 10", 102)]
    chosen = choose(given, dataclasses.replace(table, outcomes=tuple(left)))
    assert list(chosen) == ["dept"] and [cell.name for cell in tuned(given, chosen).cells][0] == "dept"


def test_cells_that_start_from_others_are_refused(plan):
    cells = [*PLAN["cells"], {"name": "carried", "needs": "pt"}]
    with pytest.raises(BadPlan, match="tune: wanted cells that start from none, given carried"):
        trials(plan(cells=cells, seeds=[1]))


def test_a_rate_that_is_left_to_the_model_is_refused(plan):
    """Nothing can be multiplied before the model is there."""
    cell = {"name": "pt", "settings": {"adapter": {"name": "pt"}, "optim": {"lr": {"prompt": None}}}}
    with pytest.raises(BadPlan, match=r"tune: cell pt: wanted a number for optim\.lr\.prompt, given null"):
        trials(plan(cells=[cell]))
