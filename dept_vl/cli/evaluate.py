"""Score a finished results file in an official format, or a saved adapter, as one JSON object on stdout.

Scores are unrounded fractions; papers print them times 100. Every file may be gzipped.
"""

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from dept_vl.cli.output import clean_stdout, plain_errors, program
from dept_vl.config import PlainParser

SCORERS = {
    "vqa": "dept_vl.metrics:score_vqa_files",
    "caption": "dept_vl.metrics:score_caption_files",
    "own": "dept_vl.run.own_scores:score_own_file",
    "adapter": "dept_vl.run.saved:score_adapter",
}
"""What `evaluate` can do: functions from their flags, as signature and docstring give them, to the JSON printed."""


def parser() -> argparse.ArgumentParser:
    """What `dept-vl evaluate` takes first; `scorer_parser` has the flags behind it."""
    made = argparse.ArgumentParser(program("evaluate"), description=__doc__)
    made.add_argument("what", choices=SCORERS, help="a results file of VQA, captions or your own data, or an adapter")
    return made


def scorer_parser(what: str) -> PlainParser:
    """The flags of `dept-vl evaluate WHAT`, one of SCORERS."""
    function = _scorer(what)
    about = (function.__doc__ or "").partition("\n")[0]
    made = PlainParser(prog=f"{program('evaluate')} {what}", description=about, allow_abbrev=False)
    made.add_function_arguments(function, as_group=False)
    return made


def main(argv: Sequence[str] | None = None) -> None:
    """Print the scores."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv and argv[0].partition("=")[0] == "--adapter":
        argv.insert(0, "adapter")  # `--adapter FOLDER` needs no command before it
    what = parser().parse_args(argv[:1]).what
    flags = scorer_parser(what)
    given = flags.parse_args(argv[1:])
    with clean_stdout() as stdout, plain_errors("evaluate", [action.dest for action in flags._actions]):
        result = _scorer(what)(**given.as_dict())
        if int(os.environ.get("RANK", 0)) == 0:  # all processes have the result, one prints it
            stdout.write(json.dumps(result, indent=2, allow_nan=False) + "\n")


def _scorer(what: str) -> Callable[..., Any]:
    module, _, name = SCORERS[what].partition(":")
    return getattr(importlib.import_module(module), name)
