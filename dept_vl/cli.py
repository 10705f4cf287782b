"""The command line `dept-vl`: train, evaluate, predict, plan and others. The scripts call the same functions.

Each function takes the words behind its name, and imports what needs torch once the flags are known to be good, so
that --help answers at once.
"""

import argparse
import contextlib
import functools
import importlib
import io
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from dept_vl.config import Experiment, PlainParser, config_files, parse_experiment
from dept_vl.tasks import TASKS, TextTask

TEXT_TASKS = ", ".join(name for name, task in TASKS.items() if isinstance(task, TextTask))
ABOUT = {
    "vqa": "Train an adapter and the visual projection for VQA, and score them on the test split.",
    "caption": "Train an adapter and the visual projection for captioning, and score them on the test split.",
    "text": "Train an adapter on text tasks, one or several in turn or at once (--task.mixture), and score each on its "
    "test split. "
    f"Tasks, several separated by commas: {TEXT_TASKS}.",
}
SCORERS = {
    "vqa": "dept_vl.metrics:score_vqa_files",
    "caption": "dept_vl.metrics:score_caption_files",
    "own": "dept_vl.run.own_scores:score_own_file",
    "adapter": "dept_vl.run.saved:score_adapter",
}
"""What `evaluate` can do: functions from their flags, as signature and docstring give them, to the JSON printed."""


def main(argv: Sequence[str] | None = None) -> None:
    argv = list(sys.argv[1:] if argv is None else argv)
    functions = (train, tune_rates, evaluate, predict, demo, plan, features, methods)
    commands = {each.__name__.replace("_", "-"): each for each in functions}
    parser = argparse.ArgumentParser("dept-vl", description="Soft-prompt adapters for frozen models.")
    subparsers = parser.add_subparsers(dest="command", required=True, help="dept-vl COMMAND --help explains its flags")
    for name, each in commands.items():
        subparsers.add_parser(name, help=each.__doc__.partition("\n")[0], add_help=False)
    commands[parser.parse_args(argv[:1]).command](argv[1:])


def train(argv: Sequence[str] | None = None, task: str | None = None) -> None:
    """Train an adapter on a task, or on several in turn or at once, and score it on the test split.

    `task`: vqa, caption or text, whose default configs are used where no --task says otherwise; None is vqa.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    task = kind_of_task(argv) or task or "vqa"
    config = _parse_run(argv, task, ABOUT[task], _program("train"))
    from dept_vl.run import notes
    from dept_vl.run.execute import run_each
    from dept_vl.run.results import overview, summary

    finished = []
    with plain_errors("train"):
        for note in notes(config) if int(os.environ.get("RANK", 0)) == 0 else ():
            print(note, file=sys.stderr, flush=True)
        for folder, results in run_each(config, functools.partial(print, file=sys.stderr, flush=True)):
            print(f"{summary(results)}\nrun folder: {folder} (open report.html)", flush=True)
            finished.append(results)
    if len(finished) > 1:
        print(f"\n{overview(finished)}")


def _parse_run(argv: Sequence[str], task: str, about: str, program: str) -> Experiment:
    """The experiment of the flags, over the default files of vqa, caption or text."""
    adapter = "dept_vqa" if task == "vqa" else "dept"
    defaults = config_files("backbones/tiny.yaml", f"tasks/{task}_shapes.yaml", f"adapters/{adapter}.yaml")
    return parse_experiment(argv, description=about, defaults=defaults, prog=program)


def tune_rates(argv: Sequence[str] | None = None) -> None:
    """Propose a learning rate for each group of weights by a range test on your model and data, in one process.

    Takes the flags of `train`, and nothing is written into the run folder. Its own flags: --steps N, of each group
    (default 60, and one more loss for each at the start); --output FILE.svg or FILE.png, for the curves; --json, for
    one JSON object instead of text.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    own = argparse.ArgumentParser(_program("tune-rates"), add_help=False, allow_abbrev=False)
    own.add_argument("--steps", type=int, default=60)
    own.add_argument("--output", type=Path)
    own.add_argument("--json", action="store_true")
    given, argv = own.parse_known_args(argv)
    form = given.output.suffix.lower().removeprefix(".") if given.output else None
    if form not in (None, "svg", "png"):
        own.error(f"--output: wanted a name ending in .svg or .png, given {given.output}")
    about = " ".join(tune_rates.__doc__.split())
    config = _parse_run(argv, kind_of_task(argv) or "vqa", about, own.prog)
    from dept_vl.run.rate_curves import picture_of, text_of
    from dept_vl.run.rates import propose_rates
    from dept_vl.untrusted.whole_files import check_writable, write_whole

    with _clean_stdout() as stdout, plain_errors("tune-rates"):
        if given.output:
            check_writable(given.output)
        proposal = propose_rates(config, given.steps, functools.partial(print, file=sys.stderr, flush=True))
        if given.output:
            write_whole(given.output, picture_of(proposal, form))
        text = json.dumps(proposal.as_json(), indent=2) if given.json else "\n".join(text_of(proposal))
        stdout.write(text + "\n")


def kind_of_task(argv: Sequence[str]) -> str | None:
    """vqa, caption or text, by the task that flags name; None where they name none."""
    words = [part for word in argv for part in word.split("=", 1)]
    flags = ("--task", "--task.name", "--task.mixture")
    names = [name for flag, name in itertools.pairwise(words) if flag in flags]
    name = names[-1].partition(",")[0].strip("[]'\" ") if names else ""
    return "text" if isinstance(TASKS.get(name), TextTask) else name if name in ("caption", "vqa") else None


def evaluate(argv: Sequence[str] | None = None) -> None:
    """Score a finished results file in an official format, or a saved adapter, as one JSON object on stdout.

    Scores are unrounded fractions; papers print them times 100. Every file may be gzipped.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv and argv[0].partition("=")[0] == "--adapter":
        argv.insert(0, "adapter")  # `--adapter FOLDER` needs no command before it
    parser = argparse.ArgumentParser(_program("evaluate"), description=evaluate.__doc__.replace("    ", ""))
    parser.add_argument("what", choices=SCORERS, help="a results file of VQA, captions or your own data, or an adapter")
    what = parser.parse_args(argv[:1]).what
    module, _, name = SCORERS[what].partition(":")
    function = getattr(importlib.import_module(module), name)
    flags = PlainParser(prog=f"{parser.prog} {what}", description=function.__doc__.partition("\n")[0])
    flags.add_function_arguments(function, as_group=False)
    given = flags.parse_args(argv[1:])
    with _clean_stdout() as stdout, plain_errors("evaluate"):
        result = function(**given.as_dict())
        if int(os.environ.get("RANK", 0)) == 0:  # all processes have the result, one prints it
            stdout.write(json.dumps(result, indent=2, allow_nan=False) + "\n")


@contextlib.contextmanager
def _clean_stdout() -> Iterator[TextIO]:
    """The real stdout, while everything that libraries and their programs print there goes to stderr."""
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace") as stdout:
        os.dup2(2, 1)
        try:
            yield stdout
        finally:
            sys.stdout.flush()
            os.dup2(stdout.fileno(), 1)


def predict(argv: Sequence[str] | None = None) -> None:
    """Answer a question about images, caption them, or label rows of text; one JSON line each."""
    parser = argparse.ArgumentParser(_program("predict"), description=predict.__doc__)
    parser.add_argument("--adapter", required=True, metavar="RUN", help="an adapter or run folder")
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--image", type=Path, help="an image file, or a folder of them")
    given.add_argument("--rows", type=Path, help="rows of the adapter's text task: jsonl, json, csv, tsv, parquet")
    parser.add_argument("--question", help="asked of every image; left out, the images are captioned")
    parser.add_argument("--device", default="cpu", help="such as cpu or cuda (default: %(default)s)")
    parser.add_argument("--backbone", metavar="FOLDER", help="the language model, if its recorded name is not found")
    parser.add_argument("--vision", metavar="FOLDER", help="the CLIP, if its recorded name is not found")
    parser.add_argument("--output", type=Path, metavar="JSONL", help="a file for the lines (default: print them)")
    args = parser.parse_args(argv)
    if args.rows and args.question is not None:
        parser.error("--question: asked of images, given with --rows, which have texts of their own")
    if args.rows and args.output and args.output.exists() and args.output.samefile(args.rows):
        parser.error(f"--output: wanted another file than --rows, given {args.output} for both")
    from dept_vl.run.predictions import find_images, find_rows, predict_images, predict_rows
    from dept_vl.serve import AdaptedModel

    with plain_errors("predict"):
        if args.rows:
            given, answers = find_rows(args.adapter, args.rows), predict_rows
        else:
            given = find_images(args.adapter, args.image, args.question)
            report = functools.partial(print, file=sys.stderr)
            answers = functools.partial(predict_images, question=args.question, report=report)
        with _json_lines(args.output) as write:
            model = AdaptedModel.from_pretrained(args.adapter, args.device, args.backbone, args.vision)
            for row in answers(model, given):
                write(row)


@contextlib.contextmanager
def _json_lines(output: Path | None) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """What writes a row as a JSON line: into the file, or to stdout."""
    from dept_vl.run.output import json_lines, lines_to

    if output is not None:
        with json_lines(output) as write:
            yield write
    else:
        with _clean_stdout() as stdout:
            yield lines_to(stdout)


def plan(argv: Sequence[str] | None = None) -> None:
    """Run the many experiments of a plan file; tables, figures and statistics of them."""
    from dept_vl.plans import command

    with plain_errors("plan"):
        sys.exit(command.main(argv, functools.partial(print, flush=True)))


def demo(argv: Sequence[str] | None = None) -> None:
    """Open a page in which to try adapters: draw or drop a picture, ask, compare answers and their probabilities."""
    from dept_vl.serve.demo import command

    with plain_errors("demo"):
        command.main(argv, _program("demo"), demo.__doc__, functools.partial(print, flush=True))


def features(argv: Sequence[str] | None = None) -> None:
    """List, check or prune the stores of image features."""
    parser = argparse.ArgumentParser(_program("features"), description=features.__doc__)
    parser.add_argument("what", choices=("list", "check", "prune"), help="check reads every byte; prune deletes")
    parser.add_argument("stores", nargs="*", help="their names, or how they begin (default for list and check: all)")
    parser.add_argument("--dir", type=Path, default=Path("data/features"), help="where they lie (default: %(default)s)")
    parser.add_argument(
        "--damaged", action="store_true", help="prune only damaged files, of the stores named or of all"
    )
    args = parser.parse_args(argv)
    if args.what == "prune" and not (args.stores or args.damaged):
        parser.error("prune: wanted the names of stores, or --damaged for the damaged files of all, given neither")
    from dept_vl.vision.catalogue import keep_up

    with plain_errors("features"):
        lines, damaged = keep_up(args.what, args.dir, args.stores, damaged_alone=args.damaged)
        print("\n".join(lines))
    if damaged:
        sys.exit(f"{damaged} damaged: `dept-vl features prune --damaged` deletes them, the next run makes them anew")


def methods(argv: Sequence[str] | None = None) -> None:
    """Count the trained weights of every method, with its published arguments, by group."""
    parser = argparse.ArgumentParser(_program("methods"), description=methods.__doc__)
    parser.add_argument("--shape", default="t5-base", help="t5-small, t5-base (default), t5-large or t5-3b")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(argv)
    from dept_vl.methods import count_methods

    with plain_errors("methods"):
        counted = count_methods(args.shape)
    if args.json:
        print(json.dumps({"methods": counted}, indent=2))
        return
    for name, each in counted.items():
        groups = ", ".join(f"{group} {number:,}" for group, number in each["groups"].items())
        print(f"{name:{max(map(len, counted))}} {each['total']:>11,}  {groups}".rstrip())


def _program(command: str) -> str:
    """How the user called it: train_vqa.py, or dept-vl train."""
    name = Path(sys.argv[0]).name
    return name if name.endswith(".py") and name != "__main__.py" else f"dept-vl {command}"


@contextlib.contextmanager
def plain_errors(command: str) -> Iterator[None]:
    """Exit with one plain line and status 1 for what a user can cause. A locale that lacks a character of what is
    printed ends nothing: it is printed as Python escapes it."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        yield
    except (ValueError, OSError) as error:
        if isinstance(error, OSError) and error.filename and error.strerror:
            error = f"{error.filename}: {error.strerror}"
        sys.exit(f"{_program(command)}: error: {error}")
