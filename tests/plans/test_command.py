"""The command for plans: flags, exit statuses, what is refused before any run begins, and a plan of real runs."""

import csv
import json
import shlex
from pathlib import Path

import pytest
import yaml

from dept_vl.config import BadConfig
from dept_vl.plans.command import main
from dept_vl.plans.compare_runs import NotComparable
from dept_vl.plans.load import Changes, load_plan
from dept_vl.plans.settings import BadPlan
from tests.plans.fake_runs import leave_run

REPOSITORY = Path(__file__).resolve().parents[2]
PLANS = REPOSITORY / "configs" / "plans"


@pytest.fixture
def do(tmp_path, monkeypatch):
    """do(*argv): status and what was said; runs score their prompt's rate. `ran` lists them."""
    monkeypatch.chdir(tmp_path)

    def work(config):
        do.ran.append(config)
        leave_run(config, lambda config: config.optim.lr["prompt"])

    def do(*argv, work=work):
        lines = []
        status = main([*map(str, argv)], lines.append, work=work)
        return status, "\n".join(lines)

    do.ran = []
    return do


def test_the_best_cell_is_printed_and_written(do, tmp_path):
    status, said = do("--task", "shapes-rte", "--seeds", 1, 2, 3, "--grid", "optim.lr.prompt=0.3,0.5")
    assert status == 0 and len(do.ran) == 6 and {config.task.name for config in do.ran} == {"shapes-rte"}
    assert "run 6 of 6: shapes-rte_dept_" in said and "| prompt=0.5 | 50.00 | 0.00 |" in said
    assert "Best: prompt=0.5. Test x 100: mean 50.00, sd 0.00 (n - 1), no interval: all runs agree" in said
    (folder,) = (tmp_path / "runs" / "plans").glob("grid_prompt_*")
    assert (folder / "table.md").read_text() in said and (folder / "table.csv").read_text().count("\n") == 7
    do("--task", "shapes-rte", "--seeds", 1, 2, 3, 4, "--grid", "optim.lr.prompt=0.3,0.5")
    assert len(do.ran) == 8, "what two grids have in common is run once"


def test_a_table_that_cannot_be_written_is_told_before_any_run(do, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="wanted a folder for table.md, given a file"):
        do("--task", "shapes-rte", "--seeds", 1, "--output_dir", tmp_path / "file")
    assert do.ran == []


def test_a_file_of_configs_runs_its_cells(do):
    assert do(PLANS / "dept_lengths.yaml", "--seeds", 1)[0] == 0
    assert len(do.ran) == 4 and {config.seed for config in do.ran} == {1}


def test_a_plan_that_names_no_files_is_of_the_default_of_its_task(do, tmp_path):
    (tmp_path / "mine.yaml").write_text("{tasks: [shapes-rte], grid: {optim.lr.prompt: [1.0, 2.0]}}")
    assert do("mine.yaml")[0] == 0
    assert [(config.task.name, config.task.root, config.adapter.name) for config in do.ran] == [
        ("shapes-rte", "shapes", "dept")
    ] * 2


def commands(path):
    """The commands in the head of a plan file, word by word."""
    head = path.read_text().replace("\\\n#", "")
    return [shlex.split(line.removeprefix("#"))[2:] for line in head.splitlines() if "python scripts/plan.py" in line]


@pytest.mark.parametrize(
    "path", [path for path in sorted(PLANS.glob("*.yaml")) if commands(path)], ids=lambda path: path.name
)
def test_the_commands_of_a_plan_file_are_possible_in_every_cell(do, monkeypatch, path):
    monkeypatch.chdir(REPOSITORY)
    for words in commands(path):
        status, said = do(*words, "--dry-run")
        runs = said.rpartition("\n")[2]
        assert status == 0 and f"{runs}" in " ".join(path.read_text().replace("#", "").split())
    assert not do.ran


def test_a_failed_run_shows_in_the_exit_status(do):
    def work(config):
        raise ValueError("no data")

    status, said = do("--seeds", 1, work=work)
    assert status == 1 and "ValueError: no data" in said


@pytest.mark.parametrize(
    ("flags", "error", "message"),
    [
        (["--grid", "adapter.name=dept,depd"], ValueError, "depd"),
        (["--grid", "max_stepz=4"], BadPlan, "max_stepz.*Did you mean 'max_steps'"),
        (["--grid", "max_steps=500,600", "--eval_steps", "0"], BadPlan, "eval_steps: wanted more than 0"),
        (["none.yaml"], BadPlan, "none.yaml: wanted a YAML file"),
        (["--config", "none.yaml"], BadConfig, "none.yaml: wanted a YAML file"),
        (["--jobs", "0"], BadPlan, "--jobs: wanted at least 1"),
        (["--compare", "a", "--against", "b", "--max_steps", "3"], BadPlan, "wanted run folders alone"),
        (["--compare", "a", "--against", "b"], NotComparable, "a: wanted a finished run, given no results.json"),
    ],
)
def test_an_impossible_command_is_refused_before_any_run_begins(do, tmp_path, flags, error, message):
    with pytest.raises(error, match=message):
        do(*flags)
    assert not do.ran and not (tmp_path / "runs").exists()


def test_several_processes_for_one_run_are_refused(do, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadPlan, match="wanted one process a run"):
        do()


def test_real_runs_are_done_and_compared(experiment, afresh, tmp_path):
    config = experiment(max_steps=2, eval_steps=1)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps({**config.to_dict(), "progress": False}))))
    said = []
    words = ["--config", str(path), "--seeds", "1", "2", "--grid", "optim.lr.prompt=0.01,0.1"]
    assert main([*words, "--output_dir", str(tmp_path / "out")], said.append) == 0
    (table,) = (tmp_path / "out").glob("*/table.csv")
    with table.open(newline="") as file:
        folders = [str(tmp_path / "out" / line["folder"]) for line in csv.DictReader(file)]
    assert len(folders) == 4 and all((Path(folder) / "report.html").exists() for folder in folders)
    words = ["--compare", *folders[:2], "--against", *folders[2:], "--resamples", "20"]
    assert main(words, said.append) == 0
    assert "test vqa_accuracy x 100 (official-2021), 10 items" in said[-1] and "p = " in said[-1]


def test_a_plan_without_a_base_keeps_its_own_settings(do, tmp_path):
    """The defaults stand below them; a file of the command, and its flags, above."""
    own = {"max_steps": 7, "eval_steps": 7, "optim": {"lr": {"prompt": 9.0}}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"experiment": own, "tasks": ["shapes-rte"]}))
    do("own.yaml", "--seeds", 1, "--optim.warmup_steps", 2)
    (config,) = do.ran
    assert (config.max_steps, config.optim.lr["prompt"], config.optim.warmup_steps) == (7, 9.0, 2)
    assert config.per_device_train_batch_size == 32 and config.adapter.name == "dept", "the default's"


def test_a_fast_plan_ends_by_steps_and_tries_one_seed(do):
    do(PLANS / "equal_time.yaml", "--fast")
    assert {(config.max_steps, config.max_seconds, config.seed) for config in do.ran} == {(12, None, 1)}
    comparison = load_plan(PLANS.parent / "comparison" / "tiny_vqa.yaml", Changes(fast=True))
    assert (comparison.tune.seeds, comparison.tune.around_seeds, comparison.tune.settings) == ((101,), (1,), {})


def test_flags_go_over_the_settings_of_trials_too():
    plan = load_plan(PLANS.parent / "comparison" / "smollm2_boolq.yaml", Changes(flags={"max_steps": 3}))
    assert plan.tune.settings["max_steps"] == 3 and plan.tune.settings["eval_steps"] == 40
