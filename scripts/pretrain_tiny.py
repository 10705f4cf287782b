"""Pretrains tiny-clip and tiny-t5, the frozen backbones of the embedded default, side by side, one core each.

python scripts/pretrain_tiny.py --output_dir /tmp/tiny          # about an hour on two cores
"""

import argparse
import dataclasses
import functools
import json
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from dept_vl.data.tokenizer import load_tokenizer
from dept_vl.embedded.pretraining.card import write_cards
from dept_vl.embedded.pretraining.clip import ClipRecipe, load_clip, save_clip, score_clip, tiny_clip, train_clip
from dept_vl.embedded.pretraining.t5 import PHASES, load_t5, save_t5, score_t5, tiny_t5, train_t5
from dept_vl.embedded.pretraining.tokenizer import train_tokenizer


def pretrain(name: str, folder: Path, steps: float) -> tuple[dict[str, float], float]:
    """Trains one of the two; returns its scores as stored, and seconds. `steps` scales every phase."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    tokenizer, log, began = load_tokenizer(str(folder)), functools.partial(print, name, flush=True), time.monotonic()
    if name == "tiny-clip":
        model, recipe = tiny_clip(len(tokenizer)), ClipRecipe()
        train_clip(model, tokenizer, scaled(recipe, steps), log)
        save_clip(model, tokenizer, folder)
        return score_clip(load_clip(folder, len(tokenizer)), tokenizer), time.monotonic() - began
    model = tiny_t5(len(tokenizer))
    for phase in PHASES:
        train_t5(model, tokenizer, scaled(phase, steps), log)
    save_t5(model, folder)
    stored = load_t5(folder)
    scores = score_t5(stored, tokenizer, questions=200)
    return scores | {"told": score_t5(stored, tokenizer, questions=100, told=True)["mean"]}, time.monotonic() - began


def scaled(recipe, share: float):
    warm = max(2, round(recipe.warmup_steps * share))
    return dataclasses.replace(recipe, steps=max(2 * warm, round(recipe.steps * share)), warmup_steps=warm)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output_dir", type=Path, required=True, help="folder for tiny-clip/ and tiny-t5/")
    parser.add_argument("--steps", type=float, default=1.0, help="share of the recipe's steps (0.01 to try it out)")
    args = parser.parse_args()
    folders = {name: args.output_dir / name for name in ("tiny-clip", "tiny-t5")}
    for folder in folders.values():
        train_tokenizer(folder, seed=1)
    with ProcessPoolExecutor(2) as pool:
        runs = {name: pool.submit(pretrain, name, folder, args.steps) for name, folder in folders.items()}
    results = {name: run.result() for name, run in runs.items()}
    write_cards(args.output_dir, {n: r[0] for n, r in results.items()}, {n: r[1] for n, r in results.items()})
    print(json.dumps({name: scores for name, (scores, _) in results.items()}, indent=2))
