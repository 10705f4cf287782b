"""List, check or prune the stores of image features."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from dept_vl.cli.output import plain_errors, program


def parser() -> argparse.ArgumentParser:
    """The flags of `dept-vl features`."""
    made = argparse.ArgumentParser(program("features"), description=__doc__)
    made.add_argument("what", choices=("list", "check", "prune"), help="check reads every byte; prune deletes")
    made.add_argument("stores", nargs="*", help="their names, or how they begin (default for list and check: all)")
    made.add_argument("--dir", type=Path, default=Path("data/features"), help="where they lie (default: %(default)s)")
    made.add_argument("--damaged", action="store_true", help="prune only damaged files, of the stores named or of all")
    made.add_argument("--json", action="store_true", help="print one JSON list, an object for each store")
    return made


def main(argv: Sequence[str] | None = None) -> None:
    """Print a line for each store. Raises: SystemExit, with status 1 where `check` found damaged files."""
    flags = parser()
    args = flags.parse_args(argv)
    if args.what == "prune" and not (args.stores or args.damaged):
        flags.error("prune: wanted the names of stores, or --damaged for the damaged files of all, given neither")
    from dept_vl.vision.catalogue import keep_up

    with plain_errors("features"):
        found = keep_up(args.what, args.dir, args.stores, damaged_alone=args.damaged)
        lines = [line for each in found for line in each.lines()] or [f"no feature store in {args.dir}"]
        print(json.dumps([each.as_json() for each in found], indent=2) if args.json else "\n".join(lines))
    if damaged := sum(len(each.damage) for each in found):
        sys.exit(f"{damaged} damaged: `dept-vl features prune --damaged` deletes them, the next run makes them anew")
