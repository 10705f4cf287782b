"""Answer a question about images, caption them, or label rows of text; one JSON line each."""

import argparse
import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dept_vl.cli.output import clean_stdout, plain_errors, program, say


def parser() -> argparse.ArgumentParser:
    """The flags of `dept-vl predict`."""
    made = argparse.ArgumentParser(program("predict"), description=__doc__)
    made.add_argument("--adapter", required=True, metavar="RUN", help="an adapter or run folder")
    given = made.add_mutually_exclusive_group(required=True)
    given.add_argument("--image", type=Path, help="an image file, or a folder of them")
    given.add_argument("--rows", type=Path, help="rows of the adapter's text task: jsonl, json, csv, tsv, parquet")
    made.add_argument("--question", help="asked of every image; left out, the images are captioned")
    made.add_argument("--device", default="cpu", help="such as cpu or cuda (default: %(default)s)")
    made.add_argument("--backbone", metavar="FOLDER", help="the language model, if its recorded name is not found")
    made.add_argument("--vision", metavar="FOLDER", help="the CLIP, if its recorded name is not found")
    made.add_argument("--output", type=Path, metavar="JSONL", help="a file for the lines (default: print them)")
    return made


def main(argv: Sequence[str] | None = None) -> None:
    """Print a JSON line for each image or row, or write it into the file of --output."""
    flags = parser()
    args = flags.parse_args(argv)
    if args.rows and args.question is not None:
        flags.error("--question: asked of images, given with --rows, which have texts of their own")
    if args.rows and args.output and args.output.exists() and args.output.samefile(args.rows):
        flags.error(f"--output: wanted another file than --rows, given {args.output} for both")
    from dept_vl.run.predictions import find_images, find_rows, predict_images, predict_rows
    from dept_vl.serve import AdaptedModel
    from dept_vl.threads import take_fitting_threads

    with plain_errors("predict"):
        given: Any
        answers: Callable[..., Iterable[Mapping[str, Any]]]
        if args.rows:
            given, answers = find_rows(args.adapter, args.rows), predict_rows
        else:
            given = find_images(args.adapter, args.image, args.question)
            answers = functools.partial(predict_images, question=args.question, report=say)
        with _json_lines(args.output) as write:
            model = AdaptedModel.from_pretrained(args.adapter, args.device, args.backbone, args.vision)
            take_fitting_threads(*model.frozen_models, device=args.device)
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
        with clean_stdout() as stdout:
            yield lines_to(stdout)
