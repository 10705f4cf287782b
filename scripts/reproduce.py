"""Runs rows of the papers' tables beside the published scores, and studies of the papers on the embedded default.

python scripts/reproduce.py --list                               # every figure and table, and where it stands
python scripts/reproduce.py --paper dept --figure 5 --fast       # a study; --all: all of them, and the page
python scripts/reproduce.py --dry-run                            # checks every row of every paper, runs nothing
python scripts/reproduce.py --table 1 --method dept --task superglue-cb
python scripts/reproduce.py --table 1 --method pt --task cola --task.root data --output_dir runs/try \
    --config configs/backbones/tiny.yaml --max_steps 20 --optim.warmup_steps 2 --task.max_train_samples 64
"""

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from dept_vl import reproduction, studies
from dept_vl.run.execute import run
from dept_vl.tasks import TASKS

PAPERS = Path(__file__).resolve().parent.parent / "configs" / "paper"
NAMES = sorted(path.name for path in PAPERS.iterdir() if path.is_dir())
ROWS = Path("runs/paper")
FURTHER = """Further flags change the experiment of every cell, such as --config FILE, --task.root data, --max_steps 20,
--optim.warmup_steps 2, --task.max_train_samples 64; scripts/train_text.py --help explains them. A finished cell is not
run again, a begun one goes on. Rows are configs/paper/<paper>/table<N>_<method>.yaml; each opens with its sources."""


def parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=FURTHER, allow_abbrev=False)
    parser.add_argument("--paper", choices=NAMES, help="dept where a table is given; without one, all papers")
    parser.add_argument("--table", type=int, help="its number in the paper")
    parser.add_argument("--method", help="dept, pt, ..., or one variant, as in the file's name: dpt_t5_base")
    parser.add_argument("--task", help="one task of the row")
    parser.add_argument("--k", type=int, help="one k of a few-shot table")
    parser.add_argument("--seeds", type=int, nargs="+", default=(), help="instead of the row's own")
    parser.add_argument("--output_dir", type=Path, help="folder of all runs (runs/paper; studies: runs/reproduction)")
    parser.add_argument("--dry-run", action="store_true", help="only check the files against tasks and adapters")
    studies.add_arguments(parser)
    args, flags = parser.parse_known_args(argv)
    if studies.is_asked(args) and flags:
        parser.error(f"studies take no further flags, given {' '.join(flags)}")
    if args.table is None and not (args.dry_run or studies.is_asked(args)):
        parser.error("wanted --table, or --dry-run to check all of them, given neither")
    return args, [flag for flag in flags if flag != "--"]


def main(argv: Sequence[str] | None = None) -> None:
    args, flags = parse(argv)
    say = functools.partial(print, flush=True)
    if studies.is_asked(args):
        sys.exit(studies.main(args, PAPERS.parent, say))
    papers = [args.paper] if args.paper else ["dept"] if args.table is not None else NAMES
    task = TASKS[args.task].name if args.task else None
    every = [row for paper in papers for row in reproduction.load_rows(PAPERS, paper)]
    rows = reproduction.select(every, table=args.table, method=args.method, task=task, k=args.k)
    print("\n".join(reproduction.check_rows(rows)))
    how = {"run": run, "say": say, "output_dir": args.output_dir or ROWS, "seeds": args.seeds, "flags": flags}
    ours = {} if args.dry_run else {row.name: reproduction.fill(row, **how) for row in rows}
    blocks = [block for paper in papers for block in reproduction.load_blocks(PAPERS, paper)]
    blocks = [block for block in blocks if block.table == args.table and args.k in (None, block.k)]
    if not (args.dry_run or args.method or args.task):
        print(*(f"\n{reproduction.table(block, rows, ours)}" for block in blocks), sep="\n")
    if not rows:
        sys.exit(f"reproduce.py: {reproduction.why_absent(args.method, every, blocks)}")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"reproduce.py: {type(error).__name__}: {error}")
