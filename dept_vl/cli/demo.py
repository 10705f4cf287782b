"""Open a page in which to try adapters: draw or drop a picture, ask, compare answers and their probabilities."""

import argparse
import functools
from collections.abc import Sequence

from dept_vl.cli.output import plain_errors, program


def parser() -> argparse.ArgumentParser:
    """The flags of `dept-vl demo`."""
    from dept_vl.serve.demo import command

    return command.parser(program("demo"), str(__doc__))


def main(argv: Sequence[str] | None = None) -> None:
    """Serve the page until it is interrupted. Raises: SystemExit."""
    from dept_vl.serve.demo import command

    args = parser().parse_args(argv)
    with plain_errors("demo"):
        command.main(args, functools.partial(print, flush=True))
