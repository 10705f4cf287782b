"""Compares methods on one task, at equal training time or at equal steps: mean and spread over seeds.

    python scripts/compare.py --seconds 100 --seeds 1 2 3       # equal time, 2 runs at once, a thread each
    python scripts/compare.py --steps 1000 --seeds 1            # equal steps

Equal time: each method's step is timed in a short run first, under the same load, and its steps are set to fill it.
"""

import argparse
import json
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
TIMING_STEPS = 60


def run(task: str, method: str, seed: int, steps: int, folder: Path, threads: int) -> dict:
    """One training run in a process of its own; its results.json. Finished runs are not run again."""
    if not (folder / "results.json").exists():
        files = ("backbones/tiny.yaml", f"tasks/{task}_shapes.yaml", f"adapters/{method}.yaml")
        flags = [word for name in files for word in ("--config", str(REPOSITORY / "configs" / name))]
        flags += ["--seed", str(seed), "--max_steps", str(steps), "--eval_steps", "0", "--progress", "false"]
        flags += ["--num_threads", str(threads), "--output_dir", str(folder)]
        command = [sys.executable, str(REPOSITORY / "scripts" / f"train_{task}.py"), *flags]
        done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads((folder / "results.json").read_text())


def table(rows: dict[str, list[dict]], headline: str) -> str:
    lines = [
        "| method | mean x 100 | sd | per seed | steps | train s | adapter weights |",
        "|---|---|---|---|---|---|---|",
    ]
    for method, results in rows.items():
        scores = [100 * each["metrics"]["test"][headline] for each in results]
        spread = f"{statistics.stdev(scores):.1f}" if len(scores) > 1 else "-"
        seconds = statistics.mean(each["train_info"]["train_time"] for each in results)
        weights = results[0]["weights"]
        lines.append(
            f"| {method} | {statistics.mean(scores):.1f} | {spread} | {', '.join(f'{score:.1f}' for score in scores)} "
            f"| {results[0]['run_info']['train_config']['max_steps']:,} | {seconds:.0f} "
            f"| {weights['trained'] - weights['by_group']['projection']:,} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=["vqa", "caption"], default="vqa", help="task of the embedded default")
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--seconds", type=float, help="training time of each run")
    budget.add_argument("--steps", type=int, help="steps of each run")
    parser.add_argument(
        "--methods", nargs="+", default="none pt pt100 dpt residual_pt dept".split(), help="files of configs/adapters"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--jobs", type=int, default=2, help="runs at once")
    parser.add_argument("--threads", type=int, default=1, help="threads of each run")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/compare"))
    args = parser.parse_args()
    out = args.output_dir / f"{args.task}_{args.seconds or args.steps:g}{'s' if args.seconds else '_steps'}"
    with ThreadPoolExecutor(args.jobs) as pool:

        def submit(method: str, seed: int, steps: int, name: str):
            return pool.submit(run, args.task, method, seed, steps, out.absolute() / f"{method}_{name}", args.threads)

        steps = dict.fromkeys(args.methods, args.steps)
        if args.seconds:
            timings = {method: submit(method, 0, TIMING_STEPS, "timing") for method in args.methods}
            rates = {method: timing.result()["train_info"]["steps_per_second"] for method, timing in timings.items()}
            steps = {method: round(args.seconds * rate) for method, rate in rates.items()}
        runs = {m: [submit(m, seed, steps[m], f"seed{seed}") for seed in args.seeds] for m in args.methods}
        rows = {method: [each.result() for each in group] for method, group in runs.items()}
    print(table(rows, {"vqa": "vqa_accuracy", "caption": "CIDEr"}[args.task]))
