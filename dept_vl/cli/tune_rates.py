"""Propose a learning rate for each group of weights by a range test on your model and data, in one process.

Takes the flags of `train`, and nothing is written into the run folder. Its own flags: --steps N, of each group
(default 60, and one more loss for each at the start); --output FILE.svg or FILE.png, for the curves; --json, for
one JSON object instead of text.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from dept_vl.cli.experiment import kind_of_task, parse_run
from dept_vl.cli.output import clean_stdout, plain_errors, program, say


def parser() -> argparse.ArgumentParser:
    """The flags of `dept-vl tune-rates` beside those of `train`."""
    made = argparse.ArgumentParser(program("tune-rates"), add_help=False, allow_abbrev=False)
    made.add_argument("--steps", type=int, default=60, help="of each group (default: %(default)s)")
    made.add_argument("--output", type=Path, help="FILE.svg or FILE.png, for the curves")
    made.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    return made


def main(argv: Sequence[str] | None = None) -> None:
    """Print the proposal, as lines or as one JSON object."""
    own = parser()
    given, argv = own.parse_known_args(list(sys.argv[1:] if argv is None else argv))
    form = given.output.suffix.lower().removeprefix(".") if given.output else ""
    if given.output and form not in ("svg", "png"):
        own.error(f"--output: wanted a name ending in .svg or .png, given {given.output}")
    config = parse_run(argv, kind_of_task(argv) or "vqa", " ".join(str(__doc__).split()), own.prog)
    from dept_vl.run.rate_curves import picture_of, text_of
    from dept_vl.run.rates import propose_rates
    from dept_vl.untrusted.whole_files import check_writable, write_whole

    with clean_stdout() as stdout, plain_errors("tune-rates"):
        if given.output:
            check_writable(given.output)
        proposal = propose_rates(config, given.steps, say)
        if given.output:
            write_whole(given.output, picture_of(proposal, form))
        text = json.dumps(proposal.as_json(), indent=2) if given.json else "\n".join(text_of(proposal))
        stdout.write(text + "\n")
