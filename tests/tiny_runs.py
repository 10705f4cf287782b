"""What the tests of training share: a byte-level T5 of a few thousand weights, a toy task, and short runs of it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from safetensors.torch import save

from dept_vl.adapters import build_adapter
from dept_vl.backbones import load_backbone
from dept_vl.config import AdapterConfig, BackboneConfig, Experiment, OptimConfig, TaskConfig, VisionConfig
from dept_vl.data.batches import EncodedExamples, TrainingBatches
from dept_vl.data.tokenizer import Tokenizer, load_tokenizer
from dept_vl.model import Batch, Network
from dept_vl.tasks.example import Example
from dept_vl.train import Plan, Trained, train
from dept_vl.train.optim import build_optimizer, build_schedule
from dept_vl.train.progressive import Progressive
from dept_vl.vision import VisualProjection
from tests.toy_arguments import all_toy_arguments

D_MODEL, PATCHES, WIDTH = 16, 4, 6
COLOURS = ("red", "green", "blue", "cyan")
RATES = {"prompt": 0.05, "low_rank": 0.01, "projection": 0.02}
SIZES = {"train": 6, "restval": 2, "val": 3, "test": 5}  # images of `place`
QUESTIONS = 2  # per image
ADAPTERS = all_toy_arguments()


def write_byte_tokenizer(folder: Path) -> None:
    """A byte-level tokenizer of 300 pieces: pads are 0, </s>, which it puts behind every text, is 1."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        ["what color is the circle", "how many squares are there", "a red triangle above a small blue star"] * 3,
        trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=["<pad>", "</s>", "<unk>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    ).save_pretrained(folder)


def write_byte_t5(
    folder: Path, *, seed: int = 0, d_model: int = D_MODEL, layers: int = 1, gated: bool = False, dropout: float = 0.1
) -> Path:
    """A T5 of one layer (or more) with the byte-level tokenizer; no two inputs give it the same logits."""
    from transformers import T5Config, T5ForConditionalGeneration

    write_byte_tokenizer(folder)
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=300,
            d_model=d_model,
            d_kv=8,
            d_ff=32,
            num_layers=layers,
            feed_forward_proj="gated-gelu" if gated else "relu",
            num_heads=2,
            dropout_rate=dropout,
            decoder_start_token_id=0,
            pad_token_id=0,
            eos_token_id=1,
        )  # fmt: skip
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(std=weight.shape[1] ** -0.5, generator=generator)
        model.get_input_embeddings().weight.normal_(generator=generator)
        reading = model.decoder.block[0].layer[1].EncDecAttention
        reading.o.weight.mul_(8)  # what the decoder reads outweighs what it wrote
    model.save_pretrained(folder)
    return folder


def write_byte_causal(folder: Path, kind: str = "gpt2", *, seed: int = 0, d_model: int = D_MODEL) -> Path:
    """A GPT-2 or LLaMA of two layers with the byte-level tokenizer."""
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {
        "gpt2": {"n_embd": d_model, "n_layer": 2, "n_head": 2, "n_positions": 160, "bos_token_id": None},
        "llama": {
            "hidden_size": d_model, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "max_position_embeddings": 160, "bos_token_id": None,
        },
    }  # fmt: skip
    write_byte_tokenizer(folder)
    config = AutoConfig.for_model(kind, vocab_size=300, eos_token_id=1, pad_token_id=0, **sizes[kind])
    model = AutoModelForCausalLM.from_config(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                table = any(each in name for each in ("wte", "wpe", "embed_tokens"))
                weight.normal_(std=1.0 if table else 1.5 * weight.shape[1] ** -0.5, generator=generator)
    model.save_pretrained(folder)
    return folder


def kind_of(folder: Path) -> str:
    """seq2seq or causal, by its config."""
    return "seq2seq" if json.loads((folder / "config.json").read_text())["model_type"] == "t5" else "causal"


def json_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def read_log(folder: Path) -> list[dict]:
    return json_lines(folder / "metrics.jsonl")


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in read_log(folder) if "loss" in line]


def steps_kept(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def trained_bytes(network: Network) -> bytes:
    return save({name: value.contiguous() for name, value in network.trained_state().items()})


def scripted(*values: float) -> Callable[[], dict[str, float]]:
    """An `evaluate` that gives these scores one after the other."""
    left = iter(values)
    return lambda: {"accuracy": next(left)}


class ToyFeatures:
    """Features by image key "<colour>-<number>": the colour in one channel of every patch, and a little noise."""

    def __call__(self, keys: Sequence[str]) -> torch.Tensor:
        features = torch.stack([self._noise(key) for key in keys])
        for row, key in enumerate(keys):
            features[row, :, COLOURS.index(key.partition("-")[0])] += 2
        return features

    @staticmethod
    def _noise(key: str) -> torch.Tensor:
        return 0.1 * torch.randn(PATCHES, WIDTH, generator=torch.Generator().manual_seed(int(key.rpartition("-")[2])))


class Poisoned(ToyFeatures):
    """Not a number in the third batch."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, keys: Sequence[str]) -> torch.Tensor:
        self.calls += 1
        features = super().__call__(keys)
        return features * float("nan") if self.calls == 3 else features


def toy_examples(number: int) -> list[Example]:
    """Questions of 1 to 5 words about pictures that show one colour each."""
    return [
        Example(
            id=100 + place,
            source=" ".join(["what", "color", "is", "the", "star"][: 1 + place % 5]),
            targets=(COLOURS[place % 4],),
            weights=(1.0,),
            references=(COLOURS[place % 4],) * 10,
            image=f"{COLOURS[place % 4]}-{place}",
            question_type="color",
            answer_type="other",
        )
        for place in range(number)
    ]


def encode(folder: Path, examples: Sequence[Example], **lengths: int) -> tuple[Tokenizer, EncodedExamples]:
    tokenizer = load_tokenizer(str(folder))
    sizes = {"max_source_length": 32, "max_target_length": 8, **lengths}
    facts = {"kind": kind_of(folder), "own_cue": True}
    return tokenizer, EncodedExamples(examples, tokenizer, **facts, **sizes)


def build_network(
    folder: Path, name: str = "dept", *, seed: int = 0, projection: bool = True, dropout: bool = False, **sizes: Any
) -> Network:
    backbone = load_backbone(str(folder), kind=kind_of(folder), attn_implementation="eager")
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(8, backbone.d_model, generator=generator)
    adapter = build_adapter(name, rows, ADAPTERS[name] | sizes, generator)
    visual = {"projection": VisualProjection(WIDTH, backbone.d_model, PATCHES, generator)} if projection else {}
    return Network(backbone, {"adapter": adapter, **visual}, backbone_dropout=dropout)


def randomise(network: Network, seed: int = 1) -> Network:
    """Away from the start, at which a shift is zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for group in network.param_groups().values():
            for weight in group:
                weight.add_(torch.randn(weight.shape, generator=generator))
    return network


def batch_of(lengths: Sequence[int], *, features: bool = True, targets: Sequence[int] | None = None) -> Batch:
    """Random tokens, right-padded; every row has features and a target of 3 tokens or as `targets` says."""
    draw = np.random.default_rng(7)
    ids = torch.zeros(len(lengths), max(lengths), dtype=torch.int64)
    labels = torch.full((len(lengths), max(targets or [3])), -100)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.from_numpy(draw.integers(3, 300, length))
        own = targets[row] if targets else 3
        labels[row, :own] = torch.from_numpy(draw.integers(3, 300, own))
    seen = torch.from_numpy(draw.standard_normal((len(lengths), PATCHES, WIDTH), dtype=np.float32))
    return Batch(ids, (ids != 0).long(), labels, seen if features else None, tuple(range(len(lengths))))


def fit_toy(
    network: Network,
    t5: Path,
    folder: Path,
    *,
    steps: int = 6,
    batch_size: int = 4,
    examples: Sequence[Example] | None = None,
    gather: Any = None,
    batches: type[TrainingBatches] = TrainingBatches,
    accelerator: Accelerator | None = None,
    accumulation: int = 1,
    eps: float = 1e-6,
    optimizer: str = "adamw",
    evaluate: Any = None,
    resume_from: Path | None = None,
    rates: dict[str, float] = RATES,
    stages: Progressive | None = None,
    **plan: Any,
) -> Trained:
    """A run of the training loop over the toy task, in this process unless an accelerator says otherwise."""
    accelerator = accelerator or Accelerator(cpu=True, gradient_accumulation_steps=accumulation)
    _, encoded = encode(t5, examples or toy_examples(20))
    settings = {"name": optimizer, "weight_decay": 0.0, "betas": (0.9, 0.999), "eps": eps}
    optimizer = build_optimizer(network.param_groups(), rates, **settings)
    schedule = build_schedule(optimizer, name="linear", max_steps=steps, warmup_steps=0.1)
    folder.mkdir(parents=True, exist_ok=True)
    world = accelerator.num_processes
    share = batches(
        encoded, gather or ToyFeatures(), batch_size=batch_size, seed=11, rank=accelerator.process_index, world=world
    )
    plan = {"max_steps": steps, "logging_steps": 1, "save_total_limit": 100, "metric": "accuracy", **plan}
    return train(
        accelerator, network, optimizer, schedule, share, Plan(**plan), folder,
        evaluate=evaluate, resume_from=resume_from, stages=stages,
    )  # fmt: skip


def forget_accelerate() -> None:
    """accelerate as in a new process: it keeps its state in classes."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def tiny_experiment(t5: Path, clip: Path, root: Path, output: Path, **changes: Any) -> Experiment:
    """A run of four steps over the data in `root`; `task` and `vision` change parts, the rest the top level."""
    task = {
        "name": "vqa", "root": str(root), "max_source_length": 24, "max_target_length": 6, **changes.pop("task", {})
    }  # fmt: skip
    vision = {"layer": 3, "feature_dir": str(output.parent / "features"), "batch_size": 16, **changes.pop("vision", {})}
    top = {
        "seed": 3, "max_steps": 4, "per_device_train_batch_size": 4, "per_device_eval_batch_size": 8, "eval_steps": 2,
        "logging_steps": 1, "num_threads": 1, "progress": False, **changes,
    }  # fmt: skip
    return Experiment(
        output_dir=str(output),
        adapter=AdapterConfig("dept", {"num_virtual_tokens": 3, "r": 2, "max_length": 16}),
        backbone=BackboneConfig(str(t5), attn_implementation="eager", dropout=True),
        vision=VisionConfig(f"local-dir:{clip}", **vision),
        task=TaskConfig(**task),
        optim=OptimConfig(lr=RATES),
        **top,
    )


def write_cola(root: Path, *, train: int = 24, dev: int = 12) -> Path:
    """CoLA's official files with made-up sentences: those with "cats" are acceptable."""
    folder = root / "CoLA"
    folder.mkdir(parents=True)
    for name, number in (("train", train), ("dev", dev)):
        lines = [
            f"mu26\t{place % 2}\t{'' if place % 2 else '*'}\tThe {'cats' if place % 2 else 'cat'} {word} {place}."
            for place in range(number)
            for word in [("sleep", "run", "eat")[place % 3]]
        ]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    return root


def write_two_tasks(root: Path) -> Path:
    """CoLA with 24 training rows of up to 40 tokens, SST-2 with 44 of up to 30."""
    write_cola(root)
    (root / "SST-2").mkdir()
    for name, number in (("train", 48), ("dev", 10)):
        rows = [f"a {'good' if place % 2 else 'dull'} film {place}\t{place % 2}" for place in range(number)]
        (root / "SST-2" / f"{name}.tsv").write_text("\n".join(["sentence\tlabel", *rows]) + "\n")
    return root


def text_experiment(model: Path, root: Path, output: Path, **changes: Any) -> Experiment:
    """A run of four steps on CoLA's files in `root`; `task`, `adapter` and `backbone` change parts."""
    task = {"name": "cola", "root": str(root), "max_source_length": 40, **changes.pop("task", {})}
    args = {"num_virtual_tokens": 3, "r": 2, "max_length": 24}
    adapter = {"name": "dept", "args": args, **changes.pop("adapter", {})}
    language = {"model_name_or_path": str(model), "attn_implementation": "eager", **changes.pop("backbone", {})}
    return Experiment(**{
        "output_dir": str(output), "max_steps": 4, "per_device_train_batch_size": 4, "per_device_eval_batch_size": 8,
        "eval_steps": 2, "logging_steps": 1, "progress": False, "num_threads": 1,
        "adapter": AdapterConfig(**adapter), "backbone": BackboneConfig(**language), "task": TaskConfig(**task),
        "optim": OptimConfig(lr=RATES), **changes,
    })  # fmt: skip
