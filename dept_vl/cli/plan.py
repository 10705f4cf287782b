"""Run the many experiments of a plan file; tables, figures and statistics of them."""

import argparse
import functools
import sys
from collections.abc import Sequence

from dept_vl.cli.output import plain_errors


def parser() -> argparse.ArgumentParser:
    """The flags of `dept-vl plan`, those of the experiment left out, which it takes too."""
    from dept_vl.plans import command

    return command.parser()


def main(argv: Sequence[str] | None = None) -> None:
    """Do a plan. Raises: SystemExit, with status 1 where runs failed."""
    from dept_vl.plans import command

    with plain_errors("plan"):
        sys.exit(command.main(argv, functools.partial(print, flush=True)))
