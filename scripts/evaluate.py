"""Scores a finished results file in an official format, or a saved adapter. Prints one JSON object alone on stdout.

    python scripts/evaluate.py vqa --results R.json --questions Q.json --annotations A.json
    python scripts/evaluate.py caption --results R.json --annotations captions.json
    python scripts/evaluate.py --adapter FOLDER --task cola --root data

Scores are unrounded fractions; papers print them times 100. Every file may be gzipped.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from jsonargparse import ArgumentParser

from dept_vl.metrics import score_caption_files, score_vqa_files
from dept_vl.run.saved import score_adapter

# A sub-command is a function from its flags, as its signature and docstring give them, to the JSON printed.
COMMANDS: dict[str, Callable[..., dict[str, Any]]] = {
    "vqa": score_vqa_files,
    "caption": score_caption_files,
    "adapter": score_adapter,
}


def parser() -> ArgumentParser:
    whole = ArgumentParser(prog="evaluate.py", description=__doc__.partition("\n")[0])
    commands = whole.add_subcommands(dest="command")
    for name, function in COMMANDS.items():
        about = function.__doc__.partition("\n")[0]
        command = ArgumentParser(description=about)
        command.add_function_arguments(function, as_group=False)
        commands.add_subcommand(name, command, help=about)
    return whole


@contextmanager
def stdout_kept_clean() -> Iterator[TextIO]:
    """The real stdout, while everything that libraries and their programs print there goes to stderr."""
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as stdout:
        os.dup2(2, 1)
        try:
            yield stdout
        finally:
            sys.stdout.flush()
            os.dup2(stdout.fileno(), 1)


def main(argv: Sequence[str] | None = None) -> None:
    argv = list(sys.argv[1:] if argv is None else argv)
    if any(word.split("=")[0] == "--adapter" for word in argv[:1]):
        argv.insert(0, "adapter")  # `--adapter FOLDER` needs no command before it
    given = parser().parse_args(argv)
    with stdout_kept_clean() as stdout:
        try:
            result = COMMANDS[given.command](**given[given.command].as_dict())
        except (ValueError, OSError) as error:
            sys.exit(f"evaluate.py: error: {error}")
        if int(os.environ.get("RANK", 0)) == 0:  # of several processes, which know the same, one tells
            json.dump(result, stdout, indent=2, allow_nan=False)
            stdout.write("\n")


if __name__ == "__main__":
    main()
