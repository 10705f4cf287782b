"""Run the tower once over the images of a data set and store the grid features; training finds them again.

dept-vl extract                                                    # the embedded default
dept-vl extract --config paper/vqa_dept.yaml --task.root data/vqa2
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from dept_vl.cli.output import plain_errors, program, results_to, take_json
from dept_vl.config import build_parser, config_files, parse_experiment
from dept_vl.tasks import Task

ABOUT = str(__doc__).partition("\n")[0]


def parser() -> argparse.ArgumentParser:
    """The flags of `dept-vl extract`, those of `train`."""
    return build_parser(ABOUT, prog=program("extract"))


def main(argv: Sequence[str] | None = None) -> None:
    """Print how many images were stored and which cannot be read, with --json as one object."""
    defaults = config_files("backbones/tiny.yaml", "tasks/vqa_shapes.yaml")
    as_json, argv = take_json(list(sys.argv[1:] if argv is None else argv))
    about = f"{ABOUT} --json prints one JSON object in place of lines."
    config = parse_experiment(argv, description=about, defaults=defaults, prog=program("extract"))
    from dept_vl.run import build_task, features, load_splits, load_tower, members, start, together
    from dept_vl.vision.store import refuse_read_only

    task = config.task
    names = {task.train_split, task.eval_split, task.test_split}
    with results_to(as_json) as stdout, plain_errors("extract"), together(config):
        refuse_read_only(Path(config.vision.feature_dir))
        accelerator = start(config)
        splits = {name: (name, None) for name in sorted(names)}
        loaded = [load_splits(each, cast(Task, build_task(each)), accelerator, splits) for each in members(config)]
        store = features(config, load_tower(config), [each for own in loaded for each in own.values()], accelerator)
        if accelerator.is_main_process:
            patch, width = store.shape
            num_bytes = len(store) * patch * width * 2
            found = {"folder": str(store.folder), "images": len(store), "patches": patch, "width": width}
            found |= {"bytes": num_bytes, "unreadable": dict(store.unreadable)}
            if as_json:
                print(json.dumps(found), file=stdout)
                return
            print(f"{len(store):,} images of {patch} x {width} ({num_bytes / 1e6:,.1f} MB) in {store.folder}")
            for name, reason in store.unreadable.items():
                print(f"unreadable: {name}: {reason}")
