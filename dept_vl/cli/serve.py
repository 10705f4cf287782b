"""Serve adapters over HTTP."""

import argparse
from collections.abc import Sequence

from dept_vl.cli.output import plain_errors, program


def parser() -> argparse.ArgumentParser:
    """The flags of `dept-vl serve`."""
    from dept_vl.serve.http import command

    return command.parser(program("serve"))


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT. Raises: SystemExit."""
    from dept_vl.serve.http import command

    with plain_errors("serve"):
        command.main(argv, program("serve"))
