"""The command line `dept-vl`: train, evaluate, predict, plan and others. The scripts call the same functions.

A command is a module of this folder with two functions: `parser()`, its flags, and `main(argv)`, which takes the words
behind its name (None: those of the process). The first line of its docstring is its line in `dept-vl --help`. What
needs torch is imported inside `main`, once the flags are known to be good, so that --help answers at once.

Exit status: 0 done; 1 with one sentence on stderr for what a user can cause, for runs of a plan that failed and for
damaged files that a check found; 2 for wrong flags; 130 after Ctrl-C.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from types import ModuleType

from dept_vl.cli.output import plain_errors

# Read once, when torch is loaded: a thread that waits spins for about 50 microseconds and then sleeps, in place of 3
# milliseconds (libgomp) or 200 (Intel's), in which the thread that it waits for may need its core (docs/decisions.md).
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    os.environ.setdefault("KMP_BLOCKTIME", "0")

__all__ = ["COMMANDS", "load_command", "main", "plain_errors"]

COMMANDS = (
    "train",
    "tune-rates",
    "evaluate",
    "predict",
    "demo",
    "serve",
    "extract",
    "prepare",
    "plan",
    "export",
    "features",
    "methods",
    "completion",
)
"""What stands behind `dept-vl`; `tune-rates` is the module `tune_rates`."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command that the first word names with the words behind it. Raises: SystemExit."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv and argv[0] in COMMANDS:
        load_command(argv[0]).main(argv[1:])
    else:
        parser().parse_args(argv)


def parser() -> argparse.ArgumentParser:
    """What answers where no command is named, or none that there is."""
    made = argparse.ArgumentParser("dept-vl", description="Soft-prompt adapters for frozen models.")
    made.add_argument("--version", action="version", version=f"dept-vl {version('dept_vl')}")
    commands = made.add_subparsers(dest="command", required=True, help="dept-vl COMMAND --help explains its flags")
    for name in COMMANDS:
        about = (load_command(name).__doc__ or "").partition("\n")[0]
        commands.add_parser(name, help=about, add_help=False)
    return made


def load_command(name: str) -> ModuleType:
    """The module of a command."""
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
