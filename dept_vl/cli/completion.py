"""Print a script that completes the words of dept-vl in bash, zsh or fish.

source <(dept-vl completion bash)                                # in ~/.bashrc
dept-vl completion zsh > ~/.zfunc/_dept-vl                       # a folder of fpath
dept-vl completion fish > ~/.config/fish/completions/dept-vl.fish
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from dept_vl.cli import COMMANDS, load_command
from dept_vl.cli.evaluate import SCORERS, scorer_parser
from dept_vl.cli.experiment import KINDS
from dept_vl.cli.output import plain_errors, program
from dept_vl.config import build_parser
from dept_vl.config.parse import ALIASES

SHELLS = ("bash", "zsh", "fish")
TAKE_EXPERIMENTS = ("train", "tune-rates", "extract", "prepare", "plan")
"""Commands that take the flags of an experiment beside their own."""


def parser() -> argparse.ArgumentParser:
    """The flags of `dept-vl completion`."""
    made = argparse.ArgumentParser(
        program("completion"), description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("shell", choices=SHELLS)
    return made


def main(argv: Sequence[str] | None = None) -> None:
    """Print the script."""
    shell = parser().parse_args(argv).shell
    import shtab

    with plain_errors("completion"):
        print(shtab.complete(whole_parser(), shell))


def whole_parser() -> argparse.ArgumentParser:
    """All commands with their flags in one parser, whose only use is to be completed."""
    whole = argparse.ArgumentParser("dept-vl")
    whole.add_argument("--version", action="version")
    commands = whole.add_subparsers(dest="command")
    words = _known_words()
    for name in COMMANDS:
        command = load_command(name)
        one = commands.add_parser(name, help=(command.__doc__ or "").partition("\n")[0])
        if name == "evaluate":
            scorers = one.add_subparsers(dest="what")
            for what in SCORERS:
                _add_flags(scorers.add_parser(what, help=what), scorer_parser(what)._actions, words)
            continue
        if name == "train":
            one.add_argument("kind", nargs="?", choices=KINDS)
        if name == "plan":
            _completes_files(one.add_argument("file", nargs="?"))
        _add_flags(one, command.parser()._actions, words)
        if name in TAKE_EXPERIMENTS:
            _add_flags(one, [*build_parser()._actions, *_short_names()._actions], words)
    return whole


def _short_names() -> argparse.ArgumentParser:
    """The spellings of flags that parsing replaces, and the one that `train` and `extract` take out."""
    made = argparse.ArgumentParser(add_help=False)
    made.add_argument("--json", action="store_true")
    for alias, full in ALIASES.items():
        made.add_argument(alias, action="store_true" if "=" in full else "store", help=f"short for {full}")
    return made


def _add_flags(to: argparse.ArgumentParser, actions: Iterable[argparse.Action], words: Mapping[str, list[str]]) -> None:
    """Each action once, as a plain one of the same names, choices and number of values."""
    for action in actions:
        names = [name for name in action.option_strings if name not in to._option_string_actions]
        if action.help == argparse.SUPPRESS or (action.option_strings and not names):
            continue
        typed = getattr(action, "_typehint", None)
        choices = action.choices or words.get(names[0] if names else "") or _literals(typed)
        if action.option_strings and action.nargs == 0:
            to.add_argument(*names, action="store_true", help=action.help)
            continue
        more: dict[str, Any] = {"choices": [*choices]} if choices else {}
        made = to.add_argument(*(names or [action.dest]), nargs=action.nargs, help=action.help, **more)
        if not choices and (Path in (action.type, typed) or "--config" in names or not names):
            _completes_files(made)


def _completes_files(action: argparse.Action) -> None:
    """shtab reads the attribute."""
    import shtab

    action.complete = shtab.FILE  # type: ignore[attr-defined]


def _literals(typed: Any) -> list[str]:
    """The words of a Literal, or of one that may be None too."""
    each = [typed, *get_args(typed)]
    return [str(word) for one in each if get_origin(one) is Literal for word in get_args(one)]


def _known_words() -> dict[str, list[str]]:
    """Values of flags that registries hold, by the flag; and the short names of flags, with their own."""
    from dept_vl.adapters import ADAPTERS
    from dept_vl.tasks import TASKS
    from dept_vl.tuning import TUNINGS

    tasks, adapters = sorted(TASKS), sorted(ADAPTERS)
    return {"--task": tasks, "--task.name": tasks, "--adapter.name": adapters, "--inside.name": sorted(TUNINGS)}
