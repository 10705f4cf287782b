"""Run the many experiments of a plan file; tables, figures and statistics of them."""

import argparse
import functools
import sys
from collections.abc import Sequence

from dept_vl.cli.output import plain_errors, program, results_to, say, take_json


def parser() -> argparse.ArgumentParser:
    """The flags of `dept-vl plan`, those of the experiment left out, which it takes too."""
    from dept_vl.plans import command

    return command.parser(program("plan"))


def main(argv: Sequence[str] | None = None) -> None:
    """Do a plan. Raises: SystemExit, with status 1 where runs failed."""
    from dept_vl.plans import command

    as_json, _ = take_json(argv := list(sys.argv[1:] if argv is None else argv))
    with results_to(as_json) as stdout, plain_errors("plan"):
        show = functools.partial(print, file=stdout, flush=True)
        sys.exit(command.main(argv, say if as_json else show, show=show, prog=program("plan")))
