"""Runs a grid of settings over seeds, chooses the best cell on the validation split, and reports its test scores.

    python scripts/sweep.py --seeds 1 2 3 --grid optim.lr.prompt=1.0,2.0 --grid optim.lr.low_rank=1e-3,5e-3
    python scripts/sweep.py --task shapes-rte --seeds 1 2 3 --grid adapter.args.r=4,8
    python scripts/sweep.py --config configs/paper/vqa_dept.yaml --task.root data/vqa2 --sweep configs/sweeps/dept.yaml

The same command goes on after a kill. Started several times, on several devices, the processes share the runs; a
process that finds none waiting leaves. Exit status: 0 all runs are finished, 1 some failed, 3 others still run.
"""

import argparse
import os
import sys
from pathlib import Path

from dept_vl.config import parse_experiment
from dept_vl.run import build_task, check
from dept_vl.run.execute import run
from dept_vl.sweep import as_markdown, make_grid, planned_runs, run_sweep
from dept_vl.tasks import TASKS, TextTask

CONFIGS = Path(__file__).parent.parent / "configs"


def own_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        usage="%(prog)s [--grid KEY=VALUE,VALUE ...] [--seeds N ...] [--config FILE ...] [--key value ...]",
        epilog="All other flags are the experiment's, as follows.",
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("--grid", action="append", default=[], metavar="KEY=VALUE,VALUE", help="one axis; repeatable")
    parser.add_argument("--sweep", type=Path, metavar="FILE", help="a file of configs/sweeps; --grid replaces its axes")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="N", help="default: the file's, else the config's seed")
    parser.add_argument("--draws", type=int, nargs="+", metavar="N", help="few-shot draws (default: 0 1 2)")
    parser.add_argument("--study", type=Path, metavar="FOLDER", help="default: sweep_<name> beside the config's output")
    parser.add_argument(
        "--again", nargs="+", default=[], metavar="WHAT",
        help="failed: try those runs again; elsewhere: take the processes on other hosts for dead",
    )  # fmt: skip
    return parser


def defaults_for(flags: list[str]) -> list[Path]:
    """Those of train_text.py where a text task is named, else those of train_vqa.py."""
    words = [part for flag in flags for part in flag.split("=", 1)]
    named = [after for flag, after in zip(words, words[1:], strict=False) if flag in ("--task", "--task.name")]
    kind = "text" if named and isinstance(TASKS.get(named[-1]), TextTask) else "vqa"
    return [CONFIGS / name for name in ("backbones/tiny.yaml", f"tasks/{kind}_shapes.yaml", "adapters/dept.yaml")]


def main(argv: list[str]) -> int:
    """The exit status."""
    own, rest = own_parser().parse_known_args(argv)
    if "--help" in rest or "-h" in rest:
        own_parser().print_help()
    config = parse_experiment(rest, description=__doc__.splitlines()[0], defaults=defaults_for(rest))
    if "," in config.task.name:
        sys.exit(f"sweep.py: wanted one task a sweep (--task NAME), given {config.task.name}")
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        sys.exit(
            "sweep.py: wanted one process a run, given accelerate launch with several: start this script several times"
        )
    output = Path(config.output_dir)
    folder = own.study or output.with_name(f"sweep_{output.name}")
    try:
        grid = make_grid(config, file=own.sweep, grid=own.grid, seeds=own.seeds, draws=own.draws)
        for planned in planned_runs(config, grid, folder):
            check(planned.config)
        headline = build_task(config).headline
        summary = run_sweep(config, grid, folder, run, headline=headline, again=own.again, say=print)
    except (ValueError, OSError) as error:
        sys.exit(f"sweep.py: {type(error).__name__}: {error}")
    print(f"\n{as_markdown(summary)}\nstudy folder: {folder}")
    return {"finished": 0, "failed": 1, "unfinished": 3}[summary["state"]]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
