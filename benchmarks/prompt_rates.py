"""How near the rate that follows the embedding table is to the best rate of prompts, on several backbones.

    python -m benchmarks.prompt_rates runs/prompt_rates --pretrain gpt2 llama bart --steps 500
    python -m benchmarks.prompt_rates runs/prompt_rates --train 60
    python -m benchmarks.prompt_rates runs/prompt_rates --train 15 --rows 4 --points 30 --bf16 --alone MODEL

The first command makes models of two layers: random weights, then some steps on texts of Shapes (questions about scenes
told in words, and descriptions), with tiny-t5's tokenizer. The second takes tiny-t5 and every model in the folder. On a
text task that none was pretrained for, it does the range test of `dept-vl tune-rates`, trains prompt tuning for so many
steps at the rule's rate times each of FACTORS, and prints a line a model. The third takes another decoder-only model.
"""

import argparse
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedModel

from dept_vl.config import make_experiment
from dept_vl.data.tokenizer import Tokenizer, load_tokenizer
from dept_vl.embedded.pretraining.language import ASKED, Lesson, description_lesson, question_lesson
from dept_vl.embedded.shapes.world import sample_scene
from dept_vl.run import build, resolve, start
from dept_vl.run.fitting import new_optimizer, training_batches
from dept_vl.run.prompt_rate import embedding_rms
from dept_vl.run.rates import HIGHEST, LOWEST, range_test
from dept_vl.train.engine import Engine, build_engine

FACTORS = (1 / 27, 1 / 9, 1 / 3, 1.0, 3.0)
WIDTH, LAYERS, HEADS, BATCH = 64, 2, 4, 16
SIZES = {
    "gpt2": {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "n_positions": 256},
    "llama": {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_hidden_layers": LAYERS,
              "num_attention_heads": HEADS, "max_position_embeddings": 256, "tie_word_embeddings": True},
    "bart": {"d_model": WIDTH, "encoder_layers": LAYERS, "decoder_layers": LAYERS, "encoder_attention_heads": HEADS,
             "decoder_attention_heads": HEADS, "encoder_ffn_dim": 4 * WIDTH, "decoder_ffn_dim": 4 * WIDTH,
             "max_position_embeddings": 256, "forced_eos_token_id": None},
}  # fmt: skip
SEQ2SEQ = {"bart"}


def pretrain(kind: str, steps: int, folder: Path) -> float:
    """Write a model of this type and tiny-t5's tokenizer; returns the loss, in nats a token, of the last 100 steps."""
    torch.manual_seed(0)
    tokenizer = load_tokenizer("tiny-t5")
    ids = {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0, "decoder_start_token_id": 0}
    config = AutoConfig.for_model(kind, vocab_size=len(tokenizer), **ids, **SIZES[kind])
    model = (AutoModelForSeq2SeqLM if kind in SEQ2SEQ else AutoModelForCausalLM).from_config(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    losses = []
    for lessons in _lessons(steps):
        with torch.autocast("cpu", torch.bfloat16):
            loss = _loss(model, tokenizer, lessons, seq2seq=kind in SEQ2SEQ)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(float(loss.detach()))
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return sum(losses[-100:]) / len(losses[-100:])


def _lessons(steps: int) -> Iterator[list[Lesson]]:
    rng = random.Random(0)
    for _ in range(steps):
        lessons: list[Lesson] = []
        while len(lessons) < BATCH:
            scene = sample_scene(rng, wanted_held_out=False)
            told = question_lesson(scene, rng.choice(ASKED), rng, told=True)
            lessons += [told if told and rng.random() < 0.8 else description_lesson(scene, rng)]
        yield lessons


def _loss(model: PreTrainedModel, tokenizer: Tokenizer, lessons: list[Lesson], *, seq2seq: bool) -> torch.Tensor:
    if seq2seq:
        given = tokenizer([each.source for each in lessons], padding=True, return_tensors="pt")
        labels = tokenizer([each.target for each in lessons], padding=True, return_tensors="pt")["input_ids"]
        return model(given["input_ids"], given["attention_mask"], labels=labels.masked_fill(labels == 0, -100)).loss
    given = tokenizer([f"{each.source} {each.target}" for each in lessons], padding=True, return_tensors="pt")
    labels = given["input_ids"].masked_fill(given["attention_mask"] == 0, -100)
    return model(input_ids=given["input_ids"], attention_mask=given["attention_mask"], labels=labels).loss


def measure(model: str, kind: str, steps: int, *, rows: int, points: int, bf16: bool) -> dict[str, object]:
    """Prompt tuning on shapes-rte: the rule's rate, the range test's proposal, and by factor of the rule's rate the
    training loss, in nats a token, of the last third of the steps at that constant rate, from the same start."""
    config = resolve(make_experiment({
        "per_device_train_batch_size": rows, "progress": False, "num_threads": 1, "bf16": bf16,
        "backbone": {"model_name_or_path": model, "kind": kind},
        "adapter": {"name": "pt", "args": {"num_virtual_tokens": 20}},
        "task": {"name": "shapes-rte", "max_source_length": 64, "max_train_samples": 2000},
    }))  # fmt: skip
    parts = build(config, start(config), {"train": ("train", 2000)})
    engine = build_engine(parts.accelerator, parts.network, new_optimizer(parts), 1.0)
    engine.prepare()
    rms, batches = embedding_rms(parts.network.backbone), training_batches(parts)
    rates = np.geomspace(LOWEST, HIGHEST * max(1.0, rms), points).tolist()
    curve = range_test(engine, batches, rates)["prompt"]
    rule, losses = parts.config.optim.lr["prompt"], {}
    for factor in FACTORS:
        losses[f"{factor:.3g}"] = _train(engine, batches, rule * factor, steps)
    return {
        "model": Path(model).stem, "type": parts.network.backbone.model.config.model_type, "rms": round(rms, 4),
        "rule": rule, "range_test": curve.proposed, "lowest": curve.lowest, "diverged": curve.diverged,
        "loss_by_factor": losses, "best_factor": min(losses, key=losses.__getitem__),
    }  # fmt: skip


def _train(engine: Engine, batches: Dataset, rate: float, steps: int) -> float:
    before = {name: weight.clone() for name, weight in engine.network.trained_state().items()}
    for group in engine.optimizer.param_groups:
        group["lr"] = rate
    engine.network.train()
    losses = []
    for step in range(steps):
        torch.manual_seed(step)  # of the dropout
        losses.append(float(engine.learn(batches[step], last=True)))
        [norm] = (torch.nn.utils.get_total_norm(each) for each in engine.gradients().values())
        engine.step(float(norm))
    engine.network.load_trained_state(before)
    engine.optimizer.state.clear()
    last = losses[-(len(losses) // 3) :]
    return round(sum(last) / len(last), 4)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of the small models and the runs")
    parser.add_argument("--pretrain", nargs="+", choices=SIZES, default=())
    parser.add_argument("--steps", type=int, default=600, help="of pretraining")
    parser.add_argument("--train", type=int, default=0, help="steps of each run; 0 trains nothing")
    parser.add_argument("--rows", type=int, default=16, help="of a batch")
    parser.add_argument("--points", type=int, default=60, help="of the range test")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--alone", help="a decoder-only model in place of the folder's, by name or folder")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for kind in args.pretrain:
        began = time.perf_counter()
        loss = pretrain(kind, args.steps, args.folder / "models" / kind)
        print(json.dumps({"pretrained": kind, "loss": round(loss, 3), "seconds": round(time.perf_counter() - began)}))
    made = [(str(each), each.name) for each in sorted((args.folder / "models").glob("*"))]
    known = [("tiny-t5", "seq2seq"), *((path, "seq2seq" if name in SEQ2SEQ else "causal") for path, name in made)]
    for model, kind in ([(args.alone, "causal")] if args.alone else known) if args.train else ():
        found = measure(model, kind, args.train, rows=args.rows, points=args.points, bf16=args.bf16)
        print(json.dumps(found), flush=True)
