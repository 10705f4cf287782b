"""One of the processes of tests/test_distributed.py: trains, evaluates, and writes what it holds afterwards.

python tests/two_processes.py T5 FOLDER      with accelerate's RANK, WORLD_SIZE, ... in the environment
"""

import dataclasses
import sys
from pathlib import Path

import torch
from accelerate import Accelerator

from dept_vl.backbones import whole
from dept_vl.evaluate import Decoding, predict
from dept_vl.progressive import Progressive, Stage, at_random
from tests.tiny_runs import ToyFeatures, build_network, encode, fit_toy, toy_examples

STEPS, EVALUATED = 3, 7


def work(t5: Path, folder: Path, accelerator: Accelerator) -> dict:
    """What this process saw in each step, held after it and kept at the end, and its answers."""
    network = build_network(t5, max_length=32)
    # No two texts are equally long, so only one process has a batch's longest.
    examples = [dataclasses.replace(each, source="what " * (place + 1)) for place, each in enumerate(toy_examples(20))]
    rows, longest, lengths, weights, scores = [], [], [], [], iter([0.5, 0.9, 0.1])

    def watch(module: torch.nn.Module, arguments: tuple) -> None:
        rows.append(arguments[0].ids)
        longest.append(int(arguments[0].mask.sum(1).max()))

    handle = network.register_forward_pre_hook(watch)

    def evaluate() -> dict[str, float]:
        lengths.append(network.trained_length)
        weights.append({name: value.clone() for name, value in network.trained_state().items()})
        return {"accuracy": next(scores)}

    full = whole(network.backbone)  # the first step goes through half of the neurons, as any run's may
    narrow = dataclasses.replace(full, encoder_neurons=full.encoder_neurons // 2)
    stages = Progressive(network, [Stage(1, narrow), Stage(2, full)], lambda: at_random(full, 5))
    trained = fit_toy(
        network, t5, folder, examples=examples, steps=STEPS, batch_size=8, eps=1e-3, accelerator=accelerator,
        eval_steps=1, evaluate=evaluate, stages=stages,
    )  # fmt: skip
    stages.close()
    handle.remove()
    tokenizer, encoded = encode(t5, toy_examples(EVALUATED))
    answers = predict(accelerator, network, tokenizer, encoded, ToyFeatures(), Decoding(4, batch_size=2))
    return {
        "processes": accelerator.num_processes,
        "rows": rows,
        "longest": longest,
        "lengths": lengths,
        "best_step": trained.best_step,
        "weights": weights,
        "kept": {name: value.clone() for name, value in network.trained_state().items()},
        "kept_length": network.trained_length,
        "answers": answers,
    }


if __name__ == "__main__":
    accelerator = Accelerator(cpu=True)
    folder = Path(sys.argv[2])
    torch.save(work(Path(sys.argv[1]), folder, accelerator), folder / f"rank_{accelerator.process_index}.pt")
    accelerator.end_training()
