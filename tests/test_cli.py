"""The command `dept-vl`: what it says of itself, which defaults it takes, and how it reports errors."""

import io
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from dept_vl import cli
from dept_vl.cli import train
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


def test_every_command_has_flags_and_a_line_of_help(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    for name in cli.COMMANDS:
        command = cli.load_command(name)
        about = command.__doc__.partition("\n")[0]
        assert f"{name} {about}" in said
        assert command.parser().prog == f"dept-vl {name}" and callable(command.main)


def test_the_version_is_the_packages(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert not stop.value.code and capsys.readouterr().out == f"dept-vl {version('dept_vl')}\n"


def test_an_unknown_command_is_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["trian"])
    assert stop.value.code == 2 and "'trian'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "task", "folder"),
    [
        ([], "vqa", "runs/vqa_shapes"),
        (["--task", "caption"], "caption", "runs/caption_shapes"),
        (["caption"], "caption", "runs/caption_shapes"),
        (["text", "--task", "cola"], "cola", "runs/text_shapes"),
        (["--task=cola", "--task.root", "data"], "cola", "runs/text_shapes"),
        (["--task.name", "cola,rte"], "cola,rte", "runs/text_shapes"),
        (["--task.name", "cola", "--task.mixture", "[cola, rte]"], "cola", "runs/text_shapes"),
    ],
)
def test_train_takes_the_default_files_of_the_task(words, task, folder, monkeypatch):
    given = []
    monkeypatch.setattr(execute, "run_each", lambda config, report: iter(given.append(config) or ()))
    cli.main(["train", *words])
    for script in ("vqa", "caption") if "--task" in " ".join(words[:1]) else ():  # its own task is that of no --task
        train.main(words, kind=script)
    assert {(each.task.name, each.output_dir) for each in given} == {(task, folder)}


def test_a_script_trains_its_own_task(monkeypatch):
    given = []
    monkeypatch.setattr(execute, "run_each", lambda config, report: iter(given.append(config) or ()))
    for kind in ("vqa", "caption"):
        train.main([], kind=kind)
    assert [each.task.name for each in given] == ["vqa", "caption"]


@pytest.mark.parametrize("words", [["cola"], ["vqa", "text"], ["--seed", "1", "text"]])
def test_a_word_that_is_no_kind_of_task_is_refused(words, monkeypatch, capsys):
    monkeypatch.setattr(execute, "run_each", lambda config, report: pytest.fail("it trained"))
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", *words])
    assert stop.value.code == 2 and words[-1] in capsys.readouterr().err


def test_ctrl_c_ends_with_its_own_status_and_no_traceback(monkeypatch, capsys):
    def stop(config, report):
        raise KeyboardInterrupt

    monkeypatch.setattr(execute, "run_each", stop)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["train"])
    assert stopped.value.code == 130 and capsys.readouterr().err.endswith("train: interrupted\n")


def test_json_is_one_object_a_run_and_nothing_else(monkeypatch, capfd):
    def runs(config, report):
        report("a line of progress")
        os.write(1, b"a library's line\n")
        yield from ((f"runs/{name}", {"task": name}) for name in ("cola", "rte"))

    monkeypatch.setattr(execute, "run_each", runs)
    cli.main(["train", "text", "--json"])
    out, err = capfd.readouterr()
    wanted = [{"folder": f"runs/{name}", "task": name} for name in ("cola", "rte")]
    assert [json.loads(line) for line in out.splitlines()] == wanted
    assert "a line of progress" in err and "a library's line" in err


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
