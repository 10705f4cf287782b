"""Compares two configs on the same test items: the difference of their runs, its interval, and a permutation test.

    python scripts/compare_runs.py --first runs/dept_seed1 runs/dept_seed2 --second runs/pt_seed1 runs/pt_seed2

Run k of --first is paired with run k of --second (the same seed, say), and the seeds are averaged.
"""

import argparse
import sys
from pathlib import Path

from dept_vl.statistics.runs import Comparison, compare_runs


def text(comparison: Comparison) -> str:
    paired = comparison.paired
    low, high = paired.interval

    def side(name: str, mean: float, runs: tuple[float, ...]) -> str:
        return f"  {name:<11} {100 * mean:7.2f}   ({', '.join(f'{100 * value:.2f}' for value in runs)})"

    kind = "" if paired.is_mean else f", if {comparison.metric} were a mean over items, which it is not"
    return "\n".join([
        f"test {comparison.metric} x 100 ({comparison.protocol}), {paired.items:,} items",
        side("first", paired.first, comparison.first_runs),
        side("second", paired.second, comparison.second_runs),
        f"  difference  {100 * paired.difference:+7.2f}   {100 * paired.level:g} % interval "
        f"{100 * low:+.2f} to {100 * high:+.2f} (paired bootstrap over items), p = {paired.p:.3g} (permutation test); "
        f"{paired.resamples:,} resamples each, seed {paired.seed}",
        f"  outputs differ on {paired.differing:,} of {paired.items:,} items; the difference amounts to "
        f"{paired.as_items:+.1f} items{kind}",
        "  both speak of other test items for these trained runs, not of other seeds",
    ])  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--first", nargs="+", type=Path, required=True, help="run folders of one config, one per seed")
    parser.add_argument("--second", nargs="+", type=Path, required=True, help="as many run folders of the other")
    parser.add_argument("--metric", help="name in metrics.test of results.json (default: the task's headline)")
    parser.add_argument("--resamples", type=int, default=1000, help="of the bootstrap and of the test")
    parser.add_argument("--seed", type=int, default=0, help="of the resampling")
    args = parser.parse_args()
    try:
        found = compare_runs(args.first, args.second, metric=args.metric, resamples=args.resamples, seed=args.seed)
    except (ValueError, OSError) as error:
        sys.exit(f"compare_runs.py: {type(error).__name__}: {error}")
    print(text(found))
