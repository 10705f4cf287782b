"""Which experiments are one run, and what a run waits for."""

import dataclasses
from pathlib import Path

from dept_vl.config import Experiment
from dept_vl.studies.plan import key, make_plan


def test_one_run_stands_in_every_study_that_has_its_settings(studies, tmp_path):
    plan = make_plan(studies.values(), tmp_path)
    assert (len(plan.places["first"]), len(plan.places["second"])) == (12, 7)
    assert len(plan.runs) == 12 + 6, "the source is a run of the first study"
    assert all(run.folder == tmp_path / "runs" / name for name, run in plan.runs.items())
    assert all(name.startswith(f"{run.config.task.name}_pt_") for name, run in plan.runs.items())


def test_a_run_from_a_source_reads_its_folder_and_waits_for_it(studies, tmp_path):
    plan = make_plan(studies.values(), tmp_path)
    carried = [run for run in plan.runs.values() if run.after]
    assert [run.config.task.draw for run in carried] == [0, 1, 2]
    for run in carried:
        assert run.config.adapter.init_from == str(plan.runs[run.after].folder)
        assert list(plan.runs).index(run.after) < list(plan.runs).index(run.name)


def test_a_key_is_the_scores_settings_and_nothing_else():
    config = Experiment()
    same = dataclasses.replace(config, output_dir="elsewhere", progress=False, num_threads=1, logging_steps=3)
    assert key(same) == key(config)
    adapter = dataclasses.replace(config.adapter, r=3)
    others = [dataclasses.replace(config, seed=1), dataclasses.replace(config, adapter=adapter)]
    assert len({key(each) for each in (config, *others)}) == 3


def test_a_key_knows_the_source_by_its_own_key_and_not_by_its_folder(studies):
    here, there = (make_plan(studies.values(), Path(folder)) for folder in ("a", "b"))
    assert list(here.runs) == list(there.runs)
    (one, *_) = (run for run in here.runs.values() if run.after)
    assert key(one.config, one.after) != key(one.config, "another")


def test_fast_runs_are_few_small_and_other_runs(studies, tmp_path):
    whole, fast = make_plan(studies.values(), tmp_path), make_plan(studies.values(), tmp_path, fast=True)
    assert len(fast.runs) == 4 + 2 and not set(fast.runs) & set(whole.runs)
    assert {run.config.seed for run in fast.runs.values()} == {1}
    assert all(run.config.max_steps == 12 and run.config.task.max_train_samples == 128 for run in fast.runs.values())
