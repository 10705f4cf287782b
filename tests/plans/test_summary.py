"""The pick: by validation and never by test, the first of equals, whole cells alone; failures and what is left told."""

import pytest

from dept_vl.plans.summary import as_markdown, lines_of, pick
from dept_vl.plans.table import read_table
from tests.plans.fake_runs import grid, leave_run


@pytest.fixture
def table(tmp_path):
    """table(val, test, skip): the plan of two cells and three seeds, its scores by (rate, seed)."""

    def table(val, test=lambda rate, seed: 0.5, skip=(), seeds=(1, 2, 3)):
        plan, schedule = grid(tmp_path, seeds)
        for run in schedule.runs.values():
            given = run.config.optim.lr["prompt"], run.config.seed
            if given not in skip:
                leave_run(run.config, lambda _, given=given: test(*given), lambda _, given=given: val(*given))
        return read_table(plan, schedule, tmp_path)

    return table


def best(table):
    return pick(lines_of(table, "shapes-rte"))


def test_the_best_cell_is_chosen_by_validation_and_never_by_test(table):
    """The first cell is better on test, the second on validation, in the mean though not with every seed."""
    val = {(0.1, 1): 0.9, (0.1, 2): 0.3, (0.1, 3): 0.3, (0.2, 1): 0.6, (0.2, 2): 0.6, (0.2, 3): 0.6}
    found = table(lambda *given: val[given], lambda rate, seed: 0.99 if rate == 0.1 else seed / 10)
    assert best(found).cell == "prompt=0.2"
    text = as_markdown(found, {})
    assert "| prompt=0.2 | 60.00 | 0.00 | 60.00, 60.00, 60.00 | **best** |" in text
    assert "Best: prompt=0.2. Test x 100: mean 20.00, sd 10.00 (n - 1), 95 % interval -4.84 to 44.84 (t over" in text
    assert "| 2 | 0 | 60.00 | 20.00 | `shapes-rte_dept_" in text and "99" not in text, (
        "test scores are of the pick alone"
    )


def test_where_cells_are_equal_the_first_is_best(table):
    """Also where rounding makes the second mean the greater one."""
    found = table(lambda rate, seed: seed / 10 if rate == 0.1 else 0.2)
    assert best(found).cell == "prompt=0.1"


def test_a_cell_without_all_its_runs_is_not_compared(table):
    found = table(lambda rate, seed: rate, skip=[(0.2, 2)])
    assert best(found).cell == "prompt=0.1"
    (name,) = {place.run for place in found.wanted} - {each.place.run for each in found.outcomes}
    text = as_markdown(found, {name: "ValueError: a loss of nan"})
    assert "Best: prompt=0.1" in text and "not all runs finished" in text
    assert f"- failed: `{name}`: ValueError: a loss of nan" in text and "5 of 6 runs are finished" in text


def test_there_is_no_best_cell_while_runs_are_left(table):
    assert "No best cell yet: 1 runs of the plan are left." in as_markdown(table(lambda *_: 0.5, skip=[(0.1, 3)]), {})


def test_two_runs_have_no_interval(table):
    assert "no interval: it takes 3 runs" in as_markdown(table(lambda *_: 0.5, seeds=(1, 2)), {})


def test_a_plan_without_a_pick_shows_test_scores(done):
    text = as_markdown(done, {})
    assert "| short | 24.00 | 10.00 | 14.00, 24.00, 34.00 | 40 | 40 | 350 |" in text and "best" not in text


def test_the_table_names_every_run(table):
    rows = table(lambda *_: 0.25, skip=[(0.1, 3)]).as_csv().splitlines()
    assert rows[0] == "cell,task,seed,draw,val,test,seconds,weights,folder,regime" and len(rows) == 7
    assert rows[1].startswith("prompt=0.1,shapes-rte,1,0,0.25,0.5,10.0,")
    assert [row for row in rows if "prompt=0.1,shapes-rte,3,0,,,,,runs/shapes-rte_dept_" in row]
