"""One of the processes of tests/test_sharded.py: trains under what accelerate was launched with, evaluates, and writes
what it holds.

accelerate launch --config_file configs/accelerate/zero3.yaml tests/sharded_processes.py T5 FOLDER [CHECKPOINT]
"""

import dataclasses
import os
import sys
from pathlib import Path

import torch
from accelerate import Accelerator

from dept_vl.config import BackboneConfig, Experiment
from dept_vl.model import Network
from dept_vl.run import start
from dept_vl.train.evaluate import Decoding, predict
from tests import tiny_tunings
from tests.tiny_runs import RATES, ToyFeatures, build_network, encode, fit_toy, kind_of, toy_examples
from tests.tiny_tunings import attached

STEPS, EVERY, EVALUATED = 20, 10, 7
RATES = RATES | tiny_tunings.RATES


def work(t5: Path, folder: Path, accelerator: Accelerator, checkpoint: Path | None = None) -> dict:
    """What this process holds at each evaluation and at the end, and its answers."""
    network = build_network(t5, max_length=32)
    if inside := os.environ.get("INSIDE"):
        parts = {**network.parts, "inside": attached(inside, network.backbone)}
        network = Network(network.backbone, parts)
    if os.environ.get("RECOMPUTE"):
        network.backbone.checkpoint_activations()
    identity = network.backbone.identity()
    weights, scores = [], iter([0.2] if checkpoint else [0.1, 0.2])

    def evaluate() -> dict[str, float]:
        weights.append({name: value.clone() for name, value in network.trained_state().items()})
        return {"accuracy": next(scores)}

    trained = fit_toy(
        network, t5, folder, steps=STEPS, batch_size=8, eps=1e-3, accelerator=accelerator, eval_steps=EVERY,
        evaluate=evaluate, resume_from=checkpoint, rates=RATES,
    )  # fmt: skip
    rows = toy_examples(EVALUATED)  # several about one image, some of them on both processes
    examples = [dataclasses.replace(each, image=rows[place % 3].image) for place, each in enumerate(rows)]
    tokenizer, encoded = encode(t5, examples)
    said = {
        f"{free}": predict(
            accelerator, network, tokenizer, encoded, ToyFeatures(),
            Decoding(max_new_tokens=6, candidates=("red", "green", "blue"), free=free), batch_size=2,
        )
        for free in (False, True)
    }  # fmt: skip
    frozen = list(network.backbone.parameters())
    return {
        "kind": str(accelerator.distributed_type.value),
        "processes": accelerator.num_processes,
        "identity": identity,
        "best_step": trained.best_step,
        "weights": weights,
        "kept": {name: value.clone() for name, value in network.trained_state().items()},
        "answers": said,
        "frozen": sum(getattr(each, "ds_numel", each.numel()) for each in frozen),
        "here": sum(map(kept_here, frozen)),
        "gradients": [each.grad is not None for each in frozen],
    }


def kept_here(weight: torch.Tensor) -> int:
    """Values of a frozen weight that lie in this process between two steps."""
    if hasattr(weight, "ds_tensor"):
        return weight.ds_tensor.numel() + (weight.numel() if weight.dim() and weight.numel() else 0)
    return weight.to_local().numel() if hasattr(weight, "to_local") else weight.numel()


def spare_the_compiler() -> None:
    """DeepSpeed would first compile its shared-memory communication, minutes on a busy machine; gloo does as well."""
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        from deepspeed import ops

        ops.__compatible_ops__["deepspeed_shm_comm"] = False


def main(t5: Path, folder: Path, checkpoint: Path | None = None) -> None:
    config = Experiment(
        output_dir=str(folder),
        per_device_train_batch_size=4,
        num_threads=1,
        backbone=BackboneConfig(str(t5), kind=kind_of(t5)),
    )
    spare_the_compiler()
    accelerator = start(config)
    if plugin := accelerator.deepspeed_plugin:  # small weights are kept whole for speed, and here all are small
        plugin.deepspeed_config["zero_optimization"]["stage3_param_persistence_threshold"] = 0
    held = work(t5, folder, accelerator, checkpoint)
    torch.save(held, folder / f"rank_{accelerator.process_index}.pt")
    accelerator.end_training()
    os._exit(0)  # DeepSpeed keeps gloo's threads; once in 40 times the interpreter aborts over them while it ends


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
