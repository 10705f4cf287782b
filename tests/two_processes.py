"""One of the processes of tests/test_distributed.py: trains, evaluates, and writes what it holds afterwards."""

import dataclasses
import errno
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch.optim.optimizer import register_optimizer_step_pre_hook

from dept_vl.backbones import whole
from dept_vl.train import NonFiniteLoss, state
from dept_vl.train.evaluate import Decoding, predict
from dept_vl.train.progressive import Progressive, Stage, at_random
from tests.tiny_runs import Poisoned, ToyFeatures, build_network, encode, fit_toy, toy_examples

STEPS, EVALUATED = 3, 7


def work(t5: Path, folder: Path, accelerator: Accelerator) -> dict:
    """What this process saw in each step, held after it and kept at the end, and its answers."""
    network = build_network(t5, max_length=32)
    # No two texts are equally long, so only one process has a batch's longest.
    examples = [dataclasses.replace(each, source="what " * (place + 1)) for place, each in enumerate(toy_examples(20))]
    rows, longest, lengths, weights, gradients, scores = [], [], [], [], [], iter([0.5, 0.9, 0.1])

    def watch(module: torch.nn.Module, arguments: tuple) -> None:
        rows.append(arguments[0].ids)
        longest.append(int(arguments[0].mask.sum(1).max()))

    def note(optimizer: torch.optim.Optimizer, *_: object) -> None:
        gradients.append([weight.grad.clone() for group in optimizer.param_groups for weight in group["params"]])

    handle = network.register_forward_pre_hook(watch)
    noting = register_optimizer_step_pre_hook(note)

    def evaluate() -> dict[str, float]:
        lengths.append(network.adapter.trained_length)
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
    noting.remove()
    handle.remove()
    tokenizer, encoded = encode(t5, toy_examples(EVALUATED))
    answers = predict(accelerator, network, tokenizer, encoded, ToyFeatures(), Decoding(4), batch_size=2)
    return {
        "processes": accelerator.num_processes,
        "rows": rows,
        "longest": longest,
        "lengths": lengths,
        "best_step": trained.best_step,
        "weights": weights,
        "kept": {name: value.clone() for name, value in network.trained_state().items()},
        "gradients": gradients,
        "kept_length": network.adapter.trained_length,
        "answers": answers,
    }


def fail(t5: Path, folder: Path, accelerator: Accelerator, **faults: Any) -> str:
    """What this process says of a fault that only one of the processes has."""
    try:
        fit_toy(build_network(t5, max_length=32), t5, folder, batch_size=8, accelerator=accelerator, **faults)
    except (OSError, NonFiniteLoss) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "no space left")


def main(t5: Path, folder: Path) -> None:
    accelerator = Accelerator(cpu=True)
    held = work(t5, folder, accelerator)
    second = accelerator.process_index == 1
    held["poisoned"] = fail(t5, folder / "poisoned", accelerator, gather=Poisoned() if second else None)
    state.save_checkpoint = full_disk
    held["full"] = fail(t5, folder / "full", accelerator, steps=1)
    torch.save(held, folder / f"rank_{accelerator.process_index}.pt")
    accelerator.end_training()
