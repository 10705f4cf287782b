"""Where a command prints: errors as one plain line, and a stdout that holds results alone."""

import contextlib
import io
import os
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TextIO


def program(command: str) -> str:
    """How the user called it: train_vqa.py, or dept-vl train."""
    name = Path(sys.argv[0]).name
    return name if name.endswith(".py") and name != "__main__.py" else f"dept-vl {command}"


@contextlib.contextmanager
def plain_errors(command: str, flags: Collection[str] = ()) -> Iterator[None]:
    """Exit with one plain line and status 1 for what a user can cause, and with status 130 and no traceback after
    Ctrl-C. A locale that lacks a character of what is printed ends nothing: it is printed as Python escapes it. flags:
    of a command with flags of its own, under which the advice names what a run has as --task.columns and the like."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        yield
    except (ValueError, OSError) as error:
        message: object = error
        if isinstance(error, OSError) and error.filename and error.strerror:
            message = f"{error.filename}: {error.strerror}"
        sys.exit(f"{program(command)}: error: {_in_flags(str(message), flags)}")
    except KeyboardInterrupt:
        print(f"{program(command)}: interrupted", file=sys.stderr)
        sys.exit(130)


def _in_flags(advice: str, flags: Collection[str]) -> str:
    """Advice about --task.columns.answers, or task.columns.answers, as --columns.answers where --columns is a flag."""
    return re.sub(r"(--)?\btask\.(\w+)", lambda found: f"--{found[2]}" if found[2] in flags else found[0], advice)


@contextlib.contextmanager
def clean_stdout() -> Iterator[TextIO]:
    """The real stdout, while everything that libraries and their programs print there goes to stderr."""
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace") as stdout:
        os.dup2(2, 1)
        try:
            yield stdout
        finally:
            sys.stdout.flush()
            os.dup2(stdout.fileno(), 1)


@contextlib.contextmanager
def results_to(clean: bool) -> Iterator[TextIO]:
    """Where results go: stdout, or with `clean` a `clean_stdout`."""
    with clean_stdout() if clean else contextlib.nullcontext(sys.stdout) as stdout:
        yield stdout


def take_json(argv: Sequence[str]) -> tuple[bool, list[str]]:
    """Whether the flags ask for --json, and the others, for a command whose other flags are the experiment's."""
    return "--json" in argv, [word for word in argv if word != "--json"]


def say(line: str) -> None:
    """Print a line of progress to stderr, at once."""
    print(line, file=sys.stderr, flush=True)
