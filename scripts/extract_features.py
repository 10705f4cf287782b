"""Runs the tower once over the images of a data set and stores the grid features; training finds them again.

python scripts/extract_features.py                                                  # the embedded default
python scripts/extract_features.py --config configs/paper/vqa_dept.yaml --task.root data/vqa2
"""

from pathlib import Path

from dept_vl.cli import plain_errors
from dept_vl.config import parse_experiment
from dept_vl.run import build_task, features, load_splits, load_tower, members, start, together
from dept_vl.vision.store import refuse_read_only

CONFIGS = Path(__file__).parent.parent / "configs"
DEFAULTS = [CONFIGS / name for name in ("backbones/tiny.yaml", "tasks/vqa_shapes.yaml")]

if __name__ == "__main__":
    config = parse_experiment(None, description=__doc__.splitlines()[0], defaults=DEFAULTS)
    task = config.task
    names = {task.train_split, task.eval_split, task.test_split}
    with plain_errors("extract_features"), together(config):
        refuse_read_only(Path(config.vision.feature_dir))
        accelerator = start(config)
        splits = {name: (name, None) for name in sorted(names)}
        loaded = [load_splits(each, build_task(each), accelerator, splits) for each in members(config)]
        store = features(config, load_tower(config), [each for own in loaded for each in own.values()], accelerator)
        if accelerator.is_main_process:
            patch, width = store.shape
            megabytes = len(store) * patch * width * 2 / 1e6
            print(f"{len(store):,} images of {patch} x {width} ({megabytes:,.1f} MB) in {store.folder}")
            for name, reason in store.unreadable.items():
                print(f"unreadable: {name}: {reason}")
