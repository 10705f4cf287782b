"""Train an adapter on a task, or on several in turn or at once, and score it on the test split.

dept-vl train                                  # VQA on the embedded default; train caption, train text
dept-vl train text --task cola,rte --task.root data
accelerate launch -m dept_vl train vqa --config paper.yaml
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence

from dept_vl.cli.experiment import KINDS, kind_of_task, parse_run
from dept_vl.cli.output import plain_errors, program, results_to, say, take_json
from dept_vl.config import build_parser
from dept_vl.tasks import TASKS, TextTask

TEXT_TASKS = ", ".join(name for name, task in TASKS.items() if isinstance(task, TextTask))
ABOUT = {
    "vqa": "Train an adapter and the visual projection for VQA, and score them on the test split.",
    "caption": "Train an adapter and the visual projection for captioning, and score them on the test split.",
    "text": "Train an adapter on text tasks, one or several in turn or at once (--task.mixture), and score each on its "
    "test split. "
    f"Tasks, several separated by commas: {TEXT_TASKS}.",
}


def parser() -> argparse.ArgumentParser:
    """The flags of `dept-vl train`, behind vqa, caption or text."""
    return build_parser(ABOUT["vqa"], prog=program("train"))


def main(argv: Sequence[str] | None = None, kind: str | None = None) -> None:
    """Train each task of the flags and print its scores, or with --json one JSON object a run, in a line.

    kind: vqa, caption or text, whose default files are used where no --task says otherwise; None where the first word
    may name it, vqa where it does not.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    named = _first_word(argv) if kind is None else None
    as_json, argv = take_json(argv[1:] if named else argv)
    kind = kind_of_task(argv) or kind or named or "vqa"
    about = f"{ABOUT[kind]} --json prints the results of each run as one JSON object in a line."
    config = parse_run(argv, kind, about, program("train"))
    from dept_vl.run import notes
    from dept_vl.run.execute import run_each
    from dept_vl.run.results import overview, summary

    finished = []
    with results_to(as_json) as stdout, plain_errors("train"):
        for note in notes(config) if int(os.environ.get("RANK", 0)) == 0 else ():
            say(note)
        for folder, results in run_each(config, say):
            if as_json:
                print(json.dumps({"folder": folder, **results}), file=stdout, flush=True)
            else:
                print(f"{summary(results)}\nrun folder: {folder} (open report.html)", flush=True)
            finished.append(results)
        if len(finished) > 1 and not as_json:
            print(f"\n{overview(finished)}")


def _first_word(argv: Sequence[str]) -> str | None:
    """The kind of task that the first word names, None where it is a flag. Raises: SystemExit for another word."""
    word = argv[0] if argv else "-"
    if word.startswith("-"):
        return None
    if word not in KINDS:
        wanted = f"wanted one of {', '.join(KINDS)} or a flag first, given {word!r}; --task names a task"
        print(f"{program('train')}: error: {wanted}", file=sys.stderr)
        sys.exit(2)
    return word
