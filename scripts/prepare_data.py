"""Writes the generated Shapes, or checks a downloaded set: every file read, every count and image looked for.

python scripts/prepare_data.py shapes --root data/shapes
python scripts/prepare_data.py vqa --root data/vqa2
python scripts/prepare_data.py caption --root data/coco
python scripts/prepare_data.py cola --root data/glue --protocol official_dev
"""

import argparse
import sys
from pathlib import Path

from dept_vl.cli import plain_errors
from dept_vl.data.data_root import MissingFile, MissingImages
from dept_vl.data.sources import load_aokvqa, load_caption, load_vqa
from dept_vl.data.text_sources import load_text
from dept_vl.embedded.shapes import write_shapes, write_text_shapes
from dept_vl.tasks import TASKS, TextTask

LOADERS = {"vqa": (load_vqa, "vqa"), "caption": (load_caption, "caption"), "aokvqa": (load_aokvqa, "vqa")}
TEXT = {name: (load_text, name) for name, task in TASKS.items() if isinstance(task, TextTask)}
WRITERS = {"shapes": write_shapes, "shapes-text": write_text_shapes}
SOURCES = """\
Where the sets come from (data/README.md has the layout and the licences):
  VQA v2 questions and annotations   visualqa.org, "Download", balanced real images   -> {root}
  COCO 2014 images and captions      cocodataset.org, "Download"                       -> {root}
  dataset_coco.json (Karpathy)       caption_datasets.zip of "Deep Visual-Semantic Alignments" -> {root}
  A-OKVQA v1p0                       the Allen Institute for AI's A-OKVQA page          -> {root}"""

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", choices=[*WRITERS, *LOADERS, *TEXT], help="what to write (shapes, shapes-text) or check")
    parser.add_argument("--root", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--splits", nargs="+", help="splits to check (default: train val test; train val for aokvqa)")
    parser.add_argument("--protocol", help="of a text task: how its splits are made (default: the task's first)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the generated set (default 1)")
    args = parser.parse_args()
    with plain_errors("prepare_data"):
        if args.set in WRITERS:
            print(f"Shapes are in {WRITERS[args.set](args.root, seed=args.seed)}")
            sys.exit()
        load, name = (LOADERS | TEXT)[args.set]
        splits = args.splits or (["train", "val"] if args.set == "aokvqa" else ["train", "val", "test"])
        try:
            task = TASKS[name] if args.protocol is None else TASKS[name].under(args.protocol)
            for split in splits:
                counts = load(args.root, split, task).counts
                print(f"{split}: " + ", ".join(f"{name} {value:,}" for name, value in counts.items()))
        except (MissingFile, MissingImages) as error:
            if args.set in TEXT:  # its message names the source
                raise
            sys.exit(f"{error}\n\n{SOURCES.format(root=args.root)}")
