"""scripts/sweep.py: flags, exit statuses, and a sweep of real runs whose folders scripts/compare_runs.py compares."""

import importlib.util
import json
import shlex
from pathlib import Path

import pytest
import yaml

from tests.sweep.fake_runs import METRIC, began, write_run

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def load(name):
    spec = importlib.util.spec_from_file_location(f"{name}_script", SCRIPTS / f"{name}.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


@pytest.fixture(scope="module")
def script():
    return load("sweep")


@pytest.fixture(scope="module")
def comparing():
    return load("compare_runs")


@pytest.fixture
def faked(script, monkeypatch, tmp_path):
    """The script with runs whose validation score is the prompt's rate."""
    monkeypatch.setattr(script, "run", write_run(lambda config: config.optim.lr["prompt"]))
    monkeypatch.chdir(tmp_path)
    return script.main


def test_the_best_cell_is_printed_and_written(faked, tmp_path, capsys):
    status = faked(["--seeds", "1", "2", "3", "--grid", "optim.lr.prompt=0.3,0.5", "--output_dir", "runs/mine"])
    study = tmp_path / "runs" / "sweep_mine"
    said = capsys.readouterr().out
    assert status == 0
    assert "run 6 of 6: 02_prompt=0.5_seed3" in said and "| prompt=0.5 | 50.00 | 0.00 |" in said
    assert f"Best: prompt=0.5. test {METRIC} x 100: mean 50.00, sd 0.00 (n - 1), 95 % interval 50.00 to 50.00" in said
    assert (study / "summary.md").read_text() in said
    assert json.loads((study / "summary.json").read_text())["best"]["values"] == {"optim.lr.prompt": 0.5}


def test_a_file_of_configs_makes_its_grid(faked, tmp_path):
    file = SCRIPTS.parent / "configs/sweeps/dept_lengths.yaml"
    assert faked(["--sweep", str(file), "--study", str(tmp_path / "x"), "--seeds", "1"]) == 0
    assert began(tmp_path / "x")[0] == "01_num_virtual_tokens=20_r=60_max_length=256_seed1"
    assert len(began(tmp_path / "x")) == 4


def commands(path):
    """The commands in the head of a sweep file, word by word."""
    head = path.read_text().replace("\\\n#", "")
    return [shlex.split(line.removeprefix("#"))[2:] for line in head.splitlines() if "python scripts/sweep.py" in line]


FILES = sorted((SCRIPTS.parent / "configs" / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_commands_of_a_sweep_file_are_possible_in_every_cell(script, monkeypatch, path):
    """Up to the first run: all cells pass the checks that need no weights."""
    monkeypatch.chdir(SCRIPTS.parent)
    asked = []

    def stop(config, grid, *rest, **more):
        asked.append(len(grid.cells) * len(grid.seeds))
        raise ValueError("as far as this test goes")

    monkeypatch.setattr(script, "run_sweep", stop)
    for flags in commands(path):
        with pytest.raises(SystemExit, match="as far as this test goes"):
            script.main(flags)
        assert f"--sweep configs/sweeps/{path.name}" in " ".join(flags)
    assert asked and all(f"= {each} runs" in path.read_text() for each in asked)


def test_a_failed_run_shows_in_the_exit_status(script, monkeypatch, tmp_path, capsys):
    def run(config):
        raise ValueError("no data")

    monkeypatch.setattr(script, "run", run)
    assert script.main(["--seeds", "1", "--study", str(tmp_path / "study")]) == 1
    assert "- failed: `seed1`: ValueError: no data" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--grid", "adapter.r=4,0"], "wanted r to be an integer >= 1, given 0"),
        (["--grid", "adapter.rr=4"], "unknown key 'adapter.rr'.*Did you mean 'r'"),
        (["--grid", "max_steps=500,600", "--eval_steps", "0"], "eval_steps: wanted more than 0"),
        (["--sweep", "none.yaml"], "none.yaml: wanted a sweep file"),
    ],
)
def test_an_impossible_cell_is_told_before_any_run_begins(faked, tmp_path, flags, message):
    with pytest.raises(SystemExit, match=rf"sweep.py: \w+: .*{message}"):
        faked([*flags, "--study", str(tmp_path / "study")])
    assert not (tmp_path / "study").exists()


def test_several_processes_for_one_run_are_refused(faked, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit, match="wanted one process a run"):
        faked([])


def test_help_tells_the_flags_of_the_sweep_and_those_of_the_experiment(script, capsys):
    with pytest.raises(SystemExit) as exit:
        script.main(["--help"])
    said = capsys.readouterr().out
    assert exit.value.code == 0
    assert all(flag in said for flag in ("--grid", "--seeds", "--draws", "--study", "--sweep", "--again", "--optim.lr"))


def test_real_runs_are_swept_and_compared(script, comparing, experiment, afresh, tmp_path, capsys):
    config = experiment(max_steps=2, eval_steps=1)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(config.to_dict()))))
    study = tmp_path / "study"
    flags = ["--config", str(path), "--study", str(study), "--seeds", "1", "2", "--grid", "optim.lr.prompt=0.01,0.1"]
    assert script.main(flags) == 0
    summary = json.loads((study / "summary.json").read_text())
    told = [
        json.loads((study / each["run"] / "results.json").read_text())["metrics"]["test"][METRIC]
        for each in summary["best"]["runs"]
    ]
    assert summary["best"]["test"]["values"] == told
    folders = [[study / f"{cell}_seed{seed}" for seed in (1, 2)] for cell in ("01_prompt=0.01", "02_prompt=0.1")]
    assert all((folder / "report.html").exists() for side in folders for folder in side)
    comparison = comparing.compare_runs(*folders, resamples=20)
    text = comparing.text(comparison)
    assert f"test {METRIC} x 100 (official-2021), 10 items" in text
    assert f"difference  {100 * comparison.paired.difference:+7.2f}" in text and "p = " in text
