"""Trains an adapter on one text task or several, each in turn, and scores each on its test split.

accelerate launch scripts/train_text.py                                     # DePT on all generated text tasks
accelerate launch scripts/train_text.py --task cola,rte --task.root data    # official files below data/
"""

import sys
from pathlib import Path

from dept_vl.config import parse_experiment
from dept_vl.tasks import TASKS, TextTask

CONFIGS = Path(__file__).parent.parent / "configs"
DEFAULTS = [CONFIGS / name for name in ("backbones/tiny.yaml", "adapters/dept.yaml", "tasks/text_shapes.yaml")]
NAMES = ", ".join(name for name, task in TASKS.items() if isinstance(task, TextTask))

if __name__ == "__main__":
    about = f"{__doc__.splitlines()[0]} Tasks, several separated by commas: {NAMES}."
    config, rows = parse_experiment(None, description=about, defaults=DEFAULTS), []
    # The models' libraries, once the flags are good: --help answers without them.
    from dept_vl.run.execute import run_each
    from dept_vl.run.results import overview, summary

    try:
        for folder, results in run_each(config):
            print(f"{summary(results)}\nrun folder: {folder} (open report.html)\n", flush=True)
            rows.append(results)
    except (ValueError, OSError) as error:
        sys.exit(f"train_text.py: {type(error).__name__}: {error}")
    if len(rows) > 1:
        print(overview(rows))
