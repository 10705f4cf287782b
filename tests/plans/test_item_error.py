"""The test items' own error: a binomial's, the jackknife's of a correlation, and when there is none."""

import dataclasses
import shutil

import numpy as np
import pytest

from dept_vl.metrics.labels import METRICS
from dept_vl.plans.compare_runs import read_run
from dept_vl.plans.item_error import item_error, item_parts, parts_of
from tests.plans.test_compare_runs import cola_examples, write

RIGHT = [str(int(place % 3 > 0)) for place in range(40)]
WRONG = [str(1 - int(each)) for each in RIGHT]
SOME = [*WRONG[:10], *RIGHT[10:]]
TASK = {"name": "shapes-rte"}


@pytest.fixture
def table(done, tmp_path):
    """table(long, short): `done` whose runs answered so, a list for each side."""

    def table(long, short, task=TASK):
        outcomes = []
        for number, each in enumerate(done.outcomes):
            answers = long if each.place.cell == "long" else short
            folder = write(tmp_path / f"run{number}", answers, cola_examples(), task=task)
            outcomes.append(dataclasses.replace(each, folder=folder))
        return dataclasses.replace(done, outcomes=tuple(outcomes))

    return table


def anew(folder, answers, examples):
    shutil.rmtree(folder)
    write(folder, answers, examples, task=TASK)
    item_parts.cache_clear()


def test_the_error_of_an_accuracy_is_the_binomials(table):
    """10 of 40 wrong: sqrt(p (1 - p) / (N - 1)), and over two tasks alike that over sqrt 2."""
    given = table(RIGHT, SOME)
    found, number = item_error(given, ["short"], tasks=["shapes-qnli"])
    assert (found, number) == (pytest.approx(100 * (0.25 * 0.75 / 39) ** 0.5), 40)
    both, together = item_error(given, ["short"])
    assert (both, together) == (pytest.approx(found / 2**0.5), 80)
    assert item_error(given, ["long"])[0] == 0.0, "every item is right"


def test_a_difference_is_taken_item_by_item(table):
    given = table(SOME, SOME)
    assert item_error(given, ["long"], ["short"])[0] == 0.0, "both err on the same items"


def test_a_score_that_is_no_mean_has_the_jackknifes_parts(tmp_path):
    run = read_run(write(tmp_path / "run", SOME, cola_examples(), task={"name": "cola"}))
    parts = parts_of(run, "matthews_correlation")
    score = METRICS["matthews_correlation"]
    left = [score(("0", "1"), [*RIGHT[:k], *RIGHT[k + 1 :]], [*SOME[:k], *SOME[k + 1 :]]) for k in range(40)]
    wanted = 40 * score(("0", "1"), RIGHT, SOME) - 39 * np.array(left)
    assert parts == pytest.approx(wanted)
    assert parts_of(run, "accuracy" if "accuracy" in run.scores else "matthews_correlation").shape == (40,)


def test_without_predictions_there_is_no_error_of_items(done, tmp_path):
    assert item_error(done, ["long"], ["short"]) is None
    folder = write(tmp_path / "run", SOME, cola_examples(), task=TASK)
    (folder / "predictions.jsonl").unlink()
    assert item_parts(folder) is None


def test_only_the_repeats_that_both_sides_have_count(table):
    """Seeds 2 and 3 of the short cell, on other items right, are not compared with anything."""
    given = table(SOME, SOME)
    kept = tuple(each for each in given.outcomes if each.place.cell == "short" or each.place.seed == 1)
    for each in kept:
        if each.place.seed > 1:
            anew(each.folder, RIGHT, cola_examples())
    assert item_error(dataclasses.replace(given, outcomes=kept), ["long"], ["short"])[0] == 0.0
    assert item_error(dataclasses.replace(given, outcomes=kept), ["short"])[0] > 0.0


def test_runs_on_other_items_or_a_single_one_have_no_error_of_items(table, done, tmp_path):
    given = table(SOME, SOME)
    other = [dataclasses.replace(each, id=f"other-{each.id}") for each in cola_examples()]
    anew(given.of("short")[0].folder, SOME, other)
    assert item_error(given, ["long"]) is not None and item_error(given, ["long"], ["short"]) is None
    for each in given.outcomes:
        anew(each.folder, SOME[:1], cola_examples()[:1])
    assert item_error(given, ["long"]) is None
