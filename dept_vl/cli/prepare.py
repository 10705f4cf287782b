"""Show what is understood of your own file; or write the generated Shapes, or check a downloaded set, file by file.

    dept-vl prepare reviews.csv                            # your own: lines, and a page with five examples
    dept-vl prepare shapes --root data/shapes
    dept-vl prepare vqa --root data/vqa2
    dept-vl prepare cola --root data/glue --protocol official_dev

Flags of training mean what they mean there (dept-vl train --help): --task, --task.columns, --backbone... and others.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from dept_vl.cli.experiment import kind_of_task
from dept_vl.cli.output import plain_errors, program
from dept_vl.config import config_files, parse_experiment
from dept_vl.registry import wanted_one_of
from dept_vl.tasks import TASKS, TextTask

ABOUT = str(__doc__).partition("\n")[0]
VISUAL = {"vqa": "vqa", "caption": "caption", "aokvqa": "vqa"}
TEXT = {name: name for name, task in TASKS.items() if isinstance(task, TextTask)}
WRITERS = ("shapes", "shapes-text")
NAMED = {"--task", "--task.name", "--config"}  # flags after which no task is guessed
SOURCES = """\
Where the sets come from (data/README.md has the layout and the licences):
  VQA v2 questions and annotations   visualqa.org, "Download", balanced real images   -> {root}
  COCO 2014 images and captions      cocodataset.org, "Download"                       -> {root}
  dataset_coco.json (Karpathy)       caption_datasets.zip of "Deep Visual-Semantic Alignments" -> {root}
  A-OKVQA v1p0                       the Allen Institute for AI's A-OKVQA page          -> {root}"""


def parser() -> argparse.ArgumentParser:
    """The flags of `dept-vl prepare` beside those of training."""
    made = argparse.ArgumentParser(
        program("prepare"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("set", help="your own file or folder, or what to write (shapes, shapes-text) or check (a task)")
    made.add_argument("--root", type=Path, help="folder of the data set, where `set` names one")
    made.add_argument("--splits", nargs="+", help="splits to look at (default: train val test; train val for aokvqa)")
    made.add_argument("--protocol", help="of a text task: how its splits are made (default: the task's first)")
    made.add_argument("--seed", type=int, default=1, help="seed of the generated set (default 1)")
    made.add_argument("--output", type=Path, help="the page (default, for your own file alone: NAME_page.html, here)")
    made.add_argument("--json", action="store_true", help="print one JSON object in place of lines")
    return made


def main(argv: Sequence[str] | None = None) -> None:
    """Print what was found or written, and write the page. Raises: SystemExit."""
    own = parser()
    args, flags = own.parse_known_args(argv)
    if args.set in (*WRITERS, *VISUAL, *TEXT) and args.root is None:
        own.error(f"--root: wanted the folder of {args.set}")
    with plain_errors("prepare"):
        if args.set in WRITERS:
            folder = _write(args)
            print(json.dumps({"folder": str(folder)}) if args.json else f"Shapes are in {folder}")
        else:
            _look(args, flags)


def _write(args: argparse.Namespace) -> Path:
    from dept_vl.embedded.shapes import write_shapes, write_text_shapes

    writer = write_shapes if args.set == "shapes" else write_text_shapes
    return writer(args.root, seed=args.seed)


def _look(args: argparse.Namespace, flags: Sequence[str]) -> None:
    from dept_vl.data.data_root import MissingFile, MissingImages, hub_hint
    from dept_vl.data.guess import guess_task
    from dept_vl.data.own import is_own
    from dept_vl.data.sources import load_aokvqa
    from dept_vl.run.data_page import as_json, as_lines, as_page, count_lines, load_roles, look_at
    from dept_vl.untrusted.whole_files import check_writable, write_whole

    known = (*WRITERS, *VISUAL, *TEXT)
    own = args.set not in known
    if own and not (is_own(args.set, "vqa") or Path(args.set).exists()):
        advice = hub_hint(args.set) or f"; {wanted_one_of(known, args.set)}"
        raise ValueError(f"{args.set}: no such file or folder{advice}")
    output = Path(f"{Path(args.set.rpartition(':')[2]).stem}_page.html") if own and not args.output else args.output
    if output is not None:
        check_writable(output)
    root, name = (args.set, None) if own else (args.root, (VISUAL | TEXT)[args.set])
    guess = own and NAMED.isdisjoint(each.partition("=")[0] for each in flags)
    name = guess_task(root) if guess else name
    words = [*([f"--task.name={name}"] if name else []), f"--task.root={root}", *flags]
    words += [f"--task.protocol={args.protocol}"] if args.protocol else []
    defaults = config_files("backbones/tiny.yaml", f"tasks/{kind_of_task(words) or 'vqa'}_shapes.yaml")
    config = parse_experiment(words, description=ABOUT, defaults=defaults, prog=program("prepare"))
    splits = args.splits or (["train", "val"] if args.set == "aokvqa" else ["train", "val", "test"])
    try:
        config, task, loaded = load_roles(config, splits, load_aokvqa if args.set == "aokvqa" else None)
    except (MissingFile, MissingImages) as error:
        if own or args.set in TEXT:  # its message names the source
            raise
        sys.exit(f"{error}\n\n{SOURCES.format(root=args.root)}")
    counts = {"counts": {role: dict(each.counts) for role, each in loaded.items()}}
    if output is None:
        print(json.dumps(counts) if args.json else "\n".join(count_lines(loaded)))
        return
    found = look_at(config, task, loaded)
    write_whole(output, as_page(found).encode("utf-8", errors="replace"))
    if args.json:
        print(json.dumps({**counts, **as_json(found), "page": str(output)}))
    else:
        print("\n".join([*as_lines(found), f"page: {output}"]))
