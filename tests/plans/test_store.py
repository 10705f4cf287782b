"""The single values beside a page give the same verdicts as the runs, and no others."""

import dataclasses

import pytest

from dept_vl.plans.claims import judge
from dept_vl.plans.settings import BadPlan
from dept_vl.plans.store import NAME, as_csv, read_values, with_stored
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
