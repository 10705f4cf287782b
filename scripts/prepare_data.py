"""Shows what is understood of your own file; or writes the generated Shapes, or checks a downloaded set, file by file.

    python scripts/prepare_data.py reviews.csv                    # your own: lines, and a page with five examples
    python scripts/prepare_data.py shapes --root data/shapes
    python scripts/prepare_data.py vqa --root data/vqa2
    python scripts/prepare_data.py cola --root data/glue --protocol official_dev

Flags of training mean what they mean there (train_vqa.py --help): --task, --task.columns, --backbone... and others.
"""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

from dept_vl.cli import kind_of_task, plain_errors
from dept_vl.config import config_files, parse_experiment
from dept_vl.data.data_root import MissingFile, MissingImages
from dept_vl.data.guess import guess_task
from dept_vl.data.own import is_own
from dept_vl.data.sources import load_aokvqa
from dept_vl.embedded.shapes import write_shapes, write_text_shapes
from dept_vl.registry import wanted_one_of
from dept_vl.run.data_page import as_lines, as_page, count_lines, load_roles, look_at
from dept_vl.tasks import TASKS, TextTask
from dept_vl.untrusted.whole_files import check_writable, write_whole

VISUAL = {"vqa": "vqa", "caption": "caption", "aokvqa": "vqa"}
TEXT = {name: name for name, task in TASKS.items() if isinstance(task, TextTask)}
WRITERS = {"shapes": write_shapes, "shapes-text": write_text_shapes}
NAMED = {"--task", "--task.name", "--config"}  # flags after which no task is guessed
SOURCES = """\
Where the sets come from (data/README.md has the layout and the licences):
  VQA v2 questions and annotations   visualqa.org, "Download", balanced real images   -> {root}
  COCO 2014 images and captions      cocodataset.org, "Download"                       -> {root}
  dataset_coco.json (Karpathy)       caption_datasets.zip of "Deep Visual-Semantic Alignments" -> {root}
  A-OKVQA v1p0                       the Allen Institute for AI's A-OKVQA page          -> {root}"""

if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("set", help="your own file or folder, or what to write (shapes, shapes-text) or check (a task)")
    parser.add_argument("--root", type=Path, help="folder of the data set, where `set` names one")
    parser.add_argument("--splits", nargs="+", help="splits to look at (default: train val test; train val for aokvqa)")
    parser.add_argument("--protocol", help="of a text task: how its splits are made (default: the task's first)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the generated set (default 1)")
    parser.add_argument("--output", type=Path, help="the page (default, for your own file alone: NAME_page.html, here)")
    args, flags = parser.parse_known_args()
    known = {**WRITERS, **VISUAL, **TEXT}
    with plain_errors("prepare_data"):
        own = args.set not in known
        if own and not (is_own(args.set, "vqa") or Path(args.set).exists()):
            sys.exit(f"prepare_data.py: error: {args.set}: no such file or folder; {wanted_one_of(known, args.set)}")
        if not own and args.root is None:
            parser.error(f"--root: wanted the folder of {args.set}")
        if args.set in WRITERS:
            print(f"Shapes are in {WRITERS[args.set](args.root, seed=args.seed)}")
            sys.exit()
        output = Path(f"{Path(args.set.rpartition(':')[2]).stem}_page.html") if own and not args.output else args.output
        if output is not None:
            check_writable(output)
        root, name = (args.set, None) if own else (args.root, (VISUAL | TEXT)[args.set])
        guess = own and NAMED.isdisjoint(each.partition("=")[0] for each in flags)
        name = guess_task(root) if guess else name
        words = [*([f"--task.name={name}"] if name else []), f"--task.root={root}", *flags]
        words += [f"--task.protocol={args.protocol}"] if args.protocol else []
        defaults = config_files("backbones/tiny.yaml", f"tasks/{kind_of_task(words) or 'vqa'}_shapes.yaml")
        config = parse_experiment(words, description=__doc__, defaults=defaults)
        splits = args.splits or (["train", "val"] if args.set == "aokvqa" else ["train", "val", "test"])
        try:
            config, task, loaded = load_roles(config, splits, load_aokvqa if args.set == "aokvqa" else None)
        except (MissingFile, MissingImages) as error:
            if own or args.set in TEXT:  # its message names the source
                raise
            sys.exit(f"{error}\n\n{SOURCES.format(root=args.root)}")
        if output is None:
            print("\n".join(count_lines(loaded)))
        else:
            found = look_at(config, task, loaded)
            print("\n".join(as_lines(found)))
            write_whole(output, as_page(found).encode("utf-8", errors="replace"))
            print(f"page: {output}")
