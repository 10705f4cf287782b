"""Count the trained weights of every method, with its published arguments, by group."""

import argparse
import json
from collections.abc import Sequence

from dept_vl.cli.output import plain_errors, program


def parser() -> argparse.ArgumentParser:
    """The flags of `dept-vl methods`."""
    made = argparse.ArgumentParser(program("methods"), description=__doc__)
    made.add_argument("--shape", default="t5-base", help="t5-small, t5-base (default), t5-large or t5-3b")
    made.add_argument("--json", action="store_true", help="print one JSON object")
    return made


def main(argv: Sequence[str] | None = None) -> None:
    """Print a line for each method, or one JSON object."""
    args = parser().parse_args(argv)
    from dept_vl.methods import count_methods

    with plain_errors("methods"):
        counted = count_methods(args.shape)
        if args.json:
            print(json.dumps({"methods": counted}, indent=2))
            return
        for name, each in counted.items():
            groups = ", ".join(f"{group} {number:,}" for group, number in each["groups"].items())
            print(f"{name:{max(map(len, counted))}} {each['total']:>11,}  {groups}".rstrip())
