"""Which experiments are one run, and what a run waits for."""

import dataclasses
import json
from pathlib import Path

import pytest

from dept_vl.config import Experiment, OptimConfig
from dept_vl.plans.load import Changes, load_plans
from dept_vl.plans.runs import Run, StaleRun, key, make_schedule


def test_one_run_stands_in_every_plan_that_has_its_settings(plans, tmp_path):
    schedule = make_schedule(plans.values(), tmp_path)
    assert (len(schedule.places["first"]), len(schedule.places["second"])) == (12, 7)
    assert len(schedule.runs) == 12 + 6, "the source is a run of the first plan"
    assert all(run.folder == tmp_path / "runs" / name for name, run in schedule.runs.items())
    assert all(name.startswith(f"{run.config.task.name}_pt_") for name, run in schedule.runs.items())


def test_a_run_from_a_source_reads_its_folder_and_waits_for_it(plans, tmp_path):
    schedule = make_schedule(plans.values(), tmp_path)
    carried = [run for run in schedule.runs.values() if run.after]
    assert [run.config.task.draw for run in carried] == [0, 1, 2]
    for run in carried:
        assert run.config.adapter.start["from"] == str(schedule.runs[run.after].folder)
        assert list(schedule.runs).index(run.after) < list(schedule.runs).index(run.name)


def test_a_key_is_the_scores_settings_and_nothing_else():
    config = Experiment()
    same = dataclasses.replace(config, output_dir="elsewhere", progress=False, num_threads=1, logging_steps=3)
    assert key(same) == key(config)
    adapter = dataclasses.replace(config.adapter, args={"r": 3})
    others = [dataclasses.replace(config, seed=1), dataclasses.replace(config, adapter=adapter)]
    assert len({key(each) for each in (config, *others)}) == 3


def test_a_key_knows_the_source_by_its_own_key_and_not_by_its_folder(plans):
    here, there = (make_schedule(plans.values(), Path(folder)) for folder in ("a", "b"))
    assert list(here.runs) == list(there.runs)
    (one, *_) = (run for run in here.runs.values() if run.after)
    assert key(one.config, one.after) != key(one.config, "another")


def test_what_a_config_leaves_to_the_run_is_as_the_run_chose_it(tmp_path):
    rates = {"prompt": 0.17, "projection": 1e-3}
    found = Experiment(bf16=False, optim=OptimConfig(lr=rates), output_dir=str(tmp_path))
    (tmp_path / "results.json").write_text(json.dumps({"run_info": {"train_config": found.to_dict()}}))
    left = dataclasses.replace(found, bf16="auto", optim=OptimConfig(lr={**rates, "prompt": None}))
    assert Run("left", left).results() is not None
    for other, wanted in (
        (dataclasses.replace(left, bf16=True), "bf16 False, wanted True"),
        (dataclasses.replace(left, optim=OptimConfig(lr={**rates, "prompt": 0.3})), "lr.prompt 0.17, wanted 0.3"),
        (dataclasses.replace(left, optim=OptimConfig(lr={"prompt": None, "projection": 2e-3})), "0.001, wanted 0.002"),
    ):
        with pytest.raises(StaleRun, match=wanted):
            Run("asked", other).results()


def test_fast_runs_are_few_small_and_other_runs(configs, tmp_path):
    whole, fast = (
        make_schedule(load_plans(configs / "plans", changes).values(), tmp_path)
        for changes in (Changes(), Changes(fast=True))
    )
    assert len(fast.runs) == 4 + 2 and not set(fast.runs) & set(whole.runs)
    assert {run.config.seed for run in fast.runs.values()} == {1}
    assert all(run.config.max_steps == 12 and run.config.task.max_train_samples == 128 for run in fast.runs.values())
