"""Runs rows of the papers' tables and prints each score beside the published one, in points and in items.

python scripts/reproduce.py --dry-run                            # checks every row of every paper, runs nothing
python scripts/reproduce.py --table 1 --method dept --task superglue-cb
python scripts/reproduce.py --table 1 --method pt --task cola --task.root data --output_dir runs/try \
    --config configs/backbones/tiny.yaml --max_steps 20 --optim.warmup_steps 2 --task.max_train_samples 64
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dept_vl import reproduction
from dept_vl.reproduction import Row
from dept_vl.run import run
from dept_vl.tasks import TASKS

PAPERS = Path(__file__).resolve().parent.parent / "configs" / "paper"
NAMES = sorted(path.name for path in PAPERS.iterdir() if path.is_dir())
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
    parser.add_argument("--output_dir", type=Path, default=Path("runs/paper"), help="folder of all runs")
    parser.add_argument("--dry-run", action="store_true", help="only check the files against tasks and adapters")
    args, flags = parser.parse_known_args(argv)
    if args.table is None and not args.dry_run:
        parser.error("wanted --table, or --dry-run to check all of them, given neither")
    return args, [flag for flag in flags if flag != "--"]


def fill(row: Row, args: argparse.Namespace, flags: Sequence[str]) -> dict[str, float]:
    """Runs a row and prints it; our score of each cell and mean by its label."""
    print(f"\n{row.path.relative_to(PAPERS)}{' with ' + ' '.join(flags) if flags else ''}", flush=True)
    scores = {}
    for cell in row.cells:
        runs = reproduction.run_cell(row, cell, run=run, output_dir=args.output_dir, seeds=args.seeds, flags=flags)
        done = list(runs)
        lines = reproduction.compare(cell, [results for _, results in done])
        scores[cell.label] = lines[0].ours
        warnings = [f"  {path.name}: {each}" for path, got in done for each in got["metrics"]["test"]["warnings"]]
        print("\n".join([*(line.line() for line in lines), *warnings]), flush=True)
    for mean in reproduction.means(row, scores):
        scores[mean.label] = mean.ours
        print(mean.line())
    return scores


def main(argv: Sequence[str] | None = None) -> None:
    args, flags = parse(argv)
    papers = [args.paper] if args.paper else ["dept"] if args.table is not None else NAMES
    task = TASKS[args.task].name if args.task else None
    every = [row for paper in papers for row in reproduction.load_rows(PAPERS, paper)]
    rows = reproduction.select(every, table=args.table, method=args.method, task=task, k=args.k)
    print("\n".join(reproduction.check_rows(rows)))
    ours = {} if args.dry_run else {row.name: fill(row, args, flags) for row in rows}
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
