"""Every script explains itself, and the commands in its docstring are commands that exist."""

import ast
import functools
import io
import os
import re
import runpy
import shlex
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((REPOSITORY / "scripts").glob("*.py"))
WANTED = {
    "train_vqa", "train_caption", "train_text", "evaluate", "extract_features", "predict", "prepare_data",
    "pretrain_tiny", "plan", "reproduce", "analyse",
}  # fmt: skip
IMPLIED = {("evaluate.py", "--adapter"): ["adapter"]}  # a first flag that stands for a sub-command
PATIENCE = 60  # seconds on a busy machine
LAUNCHERS = ("accelerate launch", "python")


def docstring(script: Path) -> str:
    return ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""


def commands(script: Path) -> list[str]:
    """The lines of the docstring that a reader would paste, comments cut off."""
    lines = (line.strip() for line in docstring(script).splitlines())
    return [line.partition(" #")[0].strip() for line in lines if line.startswith(LAUNCHERS)]


@functools.cache
def explained(script: str, *words: str) -> str:
    """What `--help` says, in this process: importing torch and transformers anew costs seconds a script."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(REPOSITORY)
        patch.setenv("COLUMNS", "200")
        patch.setattr(sys, "argv", [f"scripts/{script}", *words, "--help"])
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(REPOSITORY / "scripts" / script), run_name="__main__")
    assert left.value.code in (None, 0), err.getvalue()
    assert err.getvalue() == ""
    return out.getvalue()


COMMANDS = [(script, command) for script in SCRIPTS for command in commands(script)]


@pytest.mark.parametrize("name", sorted(WANTED))
def test_the_script_is_there(name):
    assert REPOSITORY / "scripts" / f"{name}.py" in SCRIPTS


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_help_is_there_and_says_what_the_docstring_says(script):
    said = " ".join(explained(script.name).split())
    assert "usage:" in said and "--help" in said
    assert " ".join(docstring(script).splitlines()[0].split()) in said


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_every_docstring_shows_a_command_of_this_script(script):
    assert any(f"scripts/{script.name}" in command for command in commands(script))


@pytest.mark.parametrize(("script", "command"), COMMANDS, ids=[command for _, command in COMMANDS])
def test_the_commands_of_a_docstring_exist(script, command):
    words = shlex.split(command)
    target = next(word for word in words if word.startswith("scripts/"))
    given = words[words.index(target) + 1 :]
    assert (REPOSITORY / target).is_file()
    for word in given:
        assert not word.startswith("configs/") or (REPOSITORY / word).is_file(), word
    first_flag = next((index for index, word in enumerate(given) if word.startswith("-")), len(given))
    first = IMPLIED.get((Path(target).name, given[first_flag] if first_flag < len(given) else ""), [])
    said = explained(Path(target).name, *given[:first_flag], *first)
    for word in given[first_flag:]:
        flag = re.match(r"--[\w.]+", word)
        assert not flag or re.search(rf"(?<![\w.-]){re.escape(flag[0])}(?![\w.])", said), flag[0]


def test_help_in_a_process_of_its_own_says_the_same_and_loads_no_torch():
    script = "train_vqa.py"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-W", "error::DeprecationWarning:dept_vl", f"scripts/{script}", "--help"],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE, check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "200", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == explained(script)
    lines = done.stderr.splitlines()
    assert all(line.startswith("import time:") for line in lines)
    assert not {"torch", "transformers"} & {line.rpartition("|")[2].strip() for line in lines}
