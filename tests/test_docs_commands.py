"""Every command line of the documentation is one that its program takes: its flags, their values, the files it names.

Commands are lines with four spaces in front, joined where they end in a backslash, and words between backticks that
begin with `dept-vl`. Training commands are parsed and checked to the end, without training.
"""

import dataclasses
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from accelerate.commands.launch import launch_command_parser

from dept_vl import cli
from dept_vl.cli import evaluate, train
from dept_vl.config import find_config, parse_experiment
from dept_vl.plans import command as plan_command
from dept_vl.plans import papers
from dept_vl.run import check, execute

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = [
    REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", REPOSITORY / "data" / "README.md",
    *sorted((REPOSITORY / "docs").glob("*.md")), *sorted((REPOSITORY / "benchmarks").glob("*.md")),
]  # fmt: skip
LINE = re.compile(r"^    ((?:accelerate launch|python scripts/|dept-vl ).*)$", re.MULTILINE)
QUOTED = re.compile(r"`(dept-vl [^`]+)`")
SCRIPTS = {
    "train_vqa": "train vqa", "train_caption": "train caption", "train_text": "train text", "evaluate": "evaluate",
    "extract_features": "extract", "predict": "predict", "prepare_data": "prepare", "plan": "plan",
}  # fmt: skip
OTHERS = {"reproduce", "analyse", "pretrain_tiny"}
"""Scripts that are no command of dept-vl."""
READERS_OWN = {"mine.yaml": "seed: 1\n", "scaled.yaml": "seed: 1\n", "answers.txt": "yes\nno\n"}
"""Files that the reader of a page has made by then."""
ENDING = {"--help", "--version", "--print_config"}
"""Flags after which a command ends with status 0."""


def commands(text: str) -> Iterator[str]:
    for found in LINE.findall(text.replace("\\\n", " ")) + QUOTED.findall(text.replace("\n", " ")):
        yield " ".join(found.split())


ALL = sorted({each for page in PAGES for each in commands(page.read_text(encoding="utf-8"))})


def as_command(line: str) -> list[str] | None:
    """The words behind `dept-vl` that a line stands for; None for a script of OTHERS."""
    words = shlex.split(line.partition(" > ")[0].replace(" [--json]", " --json"), comments=True)
    if words[0] == "accelerate":
        given = launch_command_parser().parse_args(words[2:])
        assert given.config_file is None or (REPOSITORY / given.config_file).is_file(), given.config_file
        words = ["dept-vl" if given.module else "python", given.training_script, *given.training_script_args]
        if given.module:
            assert words.pop(1) == "dept_vl"
    if words[0] == "python":
        script = Path(words[1])
        assert (REPOSITORY / script).is_file(), script
        return None if script.stem in OTHERS else [*SCRIPTS[script.stem].split(), *words[2:]]
    return words[1:]


def take(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Parse what a command is given, as far as its files need not be there. Raises: SystemExit, AssertionError."""
    name, given = words[0], words[1:]
    if name not in cli.COMMANDS:
        cli.parser().parse_args(words)
    elif name == "train":
        take_training(given, monkeypatch)
    elif name == "evaluate":
        given = ["adapter", *given] if given[:1] == ["--adapter"] else given
        if given:
            evaluate.scorer_parser(evaluate.parser().parse_args(given[:1]).what).parse_args(given[1:])
    elif name == "plan":
        while given and not given[0].startswith("-"):
            if (file := given.pop(0)) != "FILE":
                assert find_config(Path(file)).is_file() or [*REPOSITORY.glob(file)], file
        take_experiment(plan_command.parser().parse_known_args(given)[1])
    elif name == "extract":
        take_experiment([word for word in given if word != "--json"])
    elif name in ("tune-rates", "prepare"):
        if given:
            take_experiment(cli.load_command(name).parser().parse_known_args(given)[1])
    elif given:
        cli.load_command(name).parser().parse_args(given)


def take_experiment(flags: list[str]) -> None:
    parse_experiment(flags, description="", defaults=[])


def take_training(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    monkeypatch.setattr(execute, "run_each", lambda config, report: iter(given.append(config) or ()))
    train.main(words)
    [config] = given
    if any(word in READERS_OWN and word.endswith(".yaml") for word in words):
        return
    without_files = dataclasses.replace(config.adapter, start={**config.adapter.start, "from": None})
    for name in config.task.name.split(","):
        task = dataclasses.replace(config.task, name=name)
        check(dataclasses.replace(config, task=task, adapter=without_files, resume_from_checkpoint=None))


def take_other(script: str, words: list[str]) -> None:
    """The flags of a script of OTHERS: those that its source adds to a parser."""
    added = re.findall(r'add_argument\("(--[\w-]+)"', (REPOSITORY / "scripts" / script).read_text(encoding="utf-8"))
    if script == "reproduce.py":
        folders = sorted(path.name for path in (REPOSITORY / "configs" / "paper").iterdir() if path.is_dir())
        take_experiment(papers.parser(folders).parse_known_args(words)[1])
    else:
        assert {word for word in words if word.startswith("--")} <= {*added}


def test_there_are_commands_of_every_kind():
    assert {words[0] for line in ALL if (words := as_command(line))} >= {*cli.COMMANDS}
    assert len(ALL) > 80


@pytest.mark.parametrize("line", ALL)
def test_every_command_of_the_docs_is_one_that_its_program_takes(line, monkeypatch, tmp_path):
    """From an empty folder: the configs that a command names are then those of the package."""
    for name, text in READERS_OWN.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    words = as_command(line)
    if words is None:
        _, script, *words = shlex.split(line.replace(" [--json]", " --json"), comments=True)
        take_other(Path(script).name, words)
    elif ENDING & {*words}:
        with pytest.raises(SystemExit) as stop:
            take(words, monkeypatch)
        assert not stop.value.code
    else:
        take(words, monkeypatch)


@pytest.mark.parametrize(
    "line",
    [
        "accelerate launch scripts/train_vqa.py --optim.lrr 1", "dept-vl train vqa --config configs/adapters/dpd.yaml",
        "accelerate launch --num_proceses 2 -m dept_vl train", "python scripts/trian.py", "dept-vl predict --adaptr x",
        "dept-vl plan configs/plans/none.yaml", "dept-vl evaluate vqa --resultz x", "dept-vl features lst",
        "python scripts/reproduce.py --papers dept", "python scripts/analyse.py rank x --jsn", "dept-vl trian",
        "dept-vl methods --form t5-base", "dept-vl prepare shapes --rot x", "dept-vl tune-rates --step 3",
    ],
)  # fmt: skip
def test_a_command_that_is_none_is_found(line, monkeypatch, tmp_path):
    with pytest.raises((SystemExit, AssertionError)):
        test_every_command_of_the_docs_is_one_that_its_program_takes(line, monkeypatch, tmp_path)
