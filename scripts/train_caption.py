"""Trains an adapter and the visual projection for captioning, and scores them on the test split.

accelerate launch scripts/train_caption.py                                  # DePT on the embedded default
accelerate launch scripts/train_caption.py --config configs/paper/coco_dept.yaml --task.root data/coco
"""

import sys
from pathlib import Path

from dept_vl.config import parse_experiment

CONFIGS = Path(__file__).parent.parent / "configs"
DEFAULTS = [CONFIGS / name for name in ("backbones/tiny.yaml", "tasks/caption_shapes.yaml", "adapters/dept.yaml")]

if __name__ == "__main__":
    config = parse_experiment(None, description=__doc__.splitlines()[0], defaults=DEFAULTS)
    # The models' libraries, once the flags are good: --help answers at once.
    from dept_vl.run.execute import run
    from dept_vl.run.results import summary

    try:
        results = run(config)
    except (ValueError, OSError) as error:
        sys.exit(f"train_caption.py: {type(error).__name__}: {error}")
    if results:
        print(f"{summary(results)}\nrun folder: {config.output_dir} (open report.html)")
