"""The command `dept-vl`: what it says of itself, which defaults it takes, and how it reports errors."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dept_vl import cli
from dept_vl.config import config_files
from dept_vl.run import execute

ROOT = Path(__file__).resolve().parents[1]


HELP = """
import sys
from dept_vl.cli import main
for command in (), ("train",), ("evaluate",), ("predict",):
    try:
        main([*command, "--help"])
    except SystemExit as stop:
        assert not stop.code
assert "argparse" in sys.modules and not {"torch", "transformers"} & set(sys.modules)
"""


def test_help_loads_no_torch():
    """In a process of its own, one for all: each takes seconds to start."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", HELP]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    assert all(f"usage: dept-vl{command}" in done.stdout for command in ("", " train", " evaluate", " predict"))


def test_an_unknown_command_is_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["trian"])
    assert stop.value.code == 2 and "'trian'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "task", "folder"),
    [
        ([], "vqa", "runs/vqa_shapes"),
        (["--task", "caption"], "caption", "runs/caption_shapes"),
        (["--task=cola", "--task.root", "data"], "cola", "runs/text_shapes"),
        (["--task.name", "cola,rte"], "cola,rte", "runs/text_shapes"),
        (["--task.name", "cola", "--task.mixture", "[cola, rte]"], "cola", "runs/text_shapes"),
    ],
)
def test_train_takes_the_default_files_of_the_task(words, task, folder, monkeypatch):
    given = []
    monkeypatch.setattr(execute, "run_each", lambda config, report: iter(given.append(config) or ()))
    cli.main(["train", *words])
    for script in ("vqa", "caption") if words else ("vqa",):  # a script's own task is that of no --task
        cli.train(words, task=script)
    assert {(each.task.name, each.output_dir) for each in given} == {(task, folder)}


@pytest.mark.parametrize("error", [ValueError("no good"), OSError(28, "No space left on device", "runs/a")])
def test_an_error_is_one_sentence_behind_the_programs_name(error, monkeypatch):
    def fail(config, report):
        raise error

    monkeypatch.setattr(execute, "run_each", fail)
    monkeypatch.setattr(sys, "argv", ["/usr/bin/dept-vl"])
    with pytest.raises(SystemExit) as stop:
        cli.main(["train"])
    wanted = "no good" if isinstance(error, ValueError) else "runs/a: No space left on device"
    assert stop.value.code == f"dept-vl train: error: {wanted}"


def test_what_a_locale_cannot_print_ends_nothing(monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(execute, "run_each", lambda config, report: iter([("runs/é 😀", {})]))
    monkeypatch.setattr("dept_vl.run.results.summary", lambda results: "100 %")
    cli.main(["train"])
    stdout.flush()
    assert "runs/é \\U0001f600" in stdout.buffer.getvalue().decode("latin-1")


def test_the_config_files_are_found_in_the_checkout():
    assert config_files("tasks/vqa_shapes.yaml") == [ROOT / "configs" / "tasks" / "vqa_shapes.yaml"]
