"""The typed experiment: the fields of YAML files and flags, with their meanings and bounds.

The objects never enter a component: `run` reads them and passes plain arguments on.
"""

import dataclasses
import math
import operator
from typing import Any, Literal, TypedDict

from dept_vl.config.backbone import BackboneConfig
from dept_vl.config.task import TaskConfig
from dept_vl.config.vision import VisionConfig


class BadConfig(ValueError):
    """An impossible or contradictory setting."""


Start = TypedDict(
    "Start",
    {
        "init": Literal["SAMPLE_VOCAB", "TEXT", "LABELS", "RANDOM"],
        "text": str | None,
        "from": str | None,
        "sources": list[str] | None,
    },
    total=False,
)


@dataclasses.dataclass(frozen=True)
class AdapterConfig:
    """The text-side adapter.

    Args:
        name: dept, pt or another method of docs/methods.md (none: only the projection trains), or one that you
            registered.
        args: the arguments of its constructor, such as {num_virtual_tokens: 20, r: 8}; docs/methods.md lists them. A
            max_length left null is the task's max_source_length.
        start: "init" takes start rows from frequent vocabulary (SAMPLE_VOCAB, unless given), the words of "text"
            (TEXT), the class labels in "text", separated by commas (LABELS), or at random (RANDOM). "from" is a run
            or adapter folder whose weights are the start instead; sizes may differ, the overlap is copied. "sources"
            are the folders of the frozen prompts that a method mixes (attempt), or of a mixture's tasks in order, from
            which it learns (mpt).
        covers: whether the shift covers the text alone or, as an ablation, the visual tokens beside it too.
    """

    name: str = "dept"
    args: dict[str, int | float | bool | str | list[Any] | None] = dataclasses.field(default_factory=dict)
    start: Start = dataclasses.field(default_factory=Start)
    covers: Literal["text", "text_and_visual"] = "text"


@dataclasses.dataclass(frozen=True)
class InsideConfig:
    """A method that trains inside the frozen language model, beside the adapter at its input.

    Args:
        name: lora, lora_bitfit, bitfit, ia3, adapter, adapterdrop, full, lst, prefix, p_tuning_v2, hyperformer,
            hyperdecoder, or one that you registered; null or none for no such method. Alone, it goes with adapter.name
            none.
        args: the arguments of its constructor, such as {r: 32, lora_alpha: 32}; docs/methods.md lists them.
    """

    name: str | None = None
    args: dict[str, int | float | bool | str | list[Any] | None] = dataclasses.field(default_factory=dict)

    @property
    def method(self) -> str | None:
        return None if self.name == "none" else self.name


@dataclasses.dataclass(frozen=True)
class ProgressiveConfig:
    """Fast prompt tuning (FPT): the first steps on partial models of an encoder-decoder. Evaluation is of the full one,
    unless `evaluate` says otherwise.

    Args:
        kind: none, depth (fewer layers), width (fewer feed-forward neurons) or compound (both).
        shares: of the steps, one for each stage; they add up to 1.
        fractions: of the layers, the neurons or both that each stage has, growing.
        parts: which stacks are reduced (the paper: the encoder alone for MNLI and QQP, both for longer targets).
        neurons: kept first are those with the greatest mean activation, or as drawn at random, or as they stand.
        score_rows: training rows on which activations are measured, with the adapter as it is when training starts.
        repeat_scoring: measure them again at the start of every narrow stage, with the adapter as it is then.
        evaluate: full, or part for the partial model of the stage, of which FPT's Table 1 reports the scores.
    """

    kind: Literal["none", "depth", "width", "compound"] = "none"
    shares: tuple[float, ...] = (0.2, 0.2, 0.2, 0.4)
    fractions: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    parts: Literal["encoder", "encoder_decoder"] = "encoder_decoder"
    neurons: Literal["activation", "random", "first"] = "activation"
    score_rows: int = 1000
    repeat_scoring: bool = False
    evaluate: Literal["full", "part"] = "full"


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """The optimizer, its groups and its schedule.

    Args:
        name: adamw, or adafactor without relative step sizes and scaling by the weights, as Lester et al., FPT and SMoP
            train prompts. Not under DeepSpeed.
        lr: learning rate of each group of weights, such as prompt, low_rank, projection. A prompt of null gets 0.3
            times the root mean square of the language model's embedding table; config.yaml of the run has the number.
        weight_decay: of all groups (0 in DePT's executed recipe).
        betas: AdamW's two averages.
        eps: AdamW's epsilon.
        lr_scheduler_type: linear or constant, after a linear warm-up.
        warmup_steps: steps of warm-up, or a share of max_steps when below 1.
        max_grad_norm: joint clipping of all groups; null for none.
        choice_losses: add the two terms of (IA)^3's recipe for wrong labels, where answers are chosen among labels; a
            step reads each row once for every label.
        label_smoothing_factor: the part of a target token's probability that the training loss spreads evenly over the
            vocabulary.
    """

    name: Literal["adamw", "adafactor"] = "adamw"
    lr: dict[str, float | None] = dataclasses.field(
        default_factory=lambda: {"prompt": None, "low_rank": 5e-4, "projection": 1e-3}
    )
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-6
    lr_scheduler_type: Literal["linear", "constant"] = "linear"
    warmup_steps: float = 0.06
    max_grad_norm: float | None = 1.0
    choice_losses: bool = False
    label_smoothing_factor: float = 0.0


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One run.

    Args:
        output_dir: the run folder.
        seed: fixes weights, batches and draws.
        max_steps: optimizer steps; 0 scores the frozen model alone, of a text task with adapter.name and inside.name
            none.
        max_seconds: seconds of training after which a run ends, evaluation and saving left out; null for none. Learning
            rates and stages then follow the share of the seconds, or that of the steps where it is greater.
        per_device_train_batch_size: rows of a batch on each process.
        per_device_eval_batch_size: rows of a batch in evaluation.
        gradient_accumulation_steps: batches per optimizer step.
        length_step: lengths in tokens that count as equal when examples of a length are put into batches; more mixes a
            batch more and pads it more. null takes 8 for the generated tasks, whose lengths tell the wording, else 2.
        bf16: compute in bfloat16 under autocast; trained weights stay float32. auto times a few steps of either kind
            when the run starts, and takes bfloat16 where it is clearly faster; a model of fewer than 10 million weights
            stays in float32 untimed. config.yaml and every checkpoint record the choice.
        eval_steps: optimizer steps between evaluations on the selecting split; 0 for none before the end.
        save_steps: optimizer steps between checkpoints; 0 for one at the end, besides those of the best evaluations.
        logging_steps: optimizer steps between log lines.
        save_total_limit: checkpoints kept besides the best ones that they name.
        metric_for_best_model: names the metric that selects the best checkpoint; null is the task's headline metric.
        resume_from_checkpoint: a checkpoint folder, or "last" for the newest whole one of output_dir.
        report_to: trackers of accelerate (tensorboard, wandb, trackio, ...), separated by commas; none for no tracker.
        dataloader_num_workers: processes that make batches; 0 makes them in the training process.
        num_threads: CPU threads of each process; null takes an OMP_NUM_THREADS above 1, or else shares the cores among
            the processes, but trains a model of fewer than 10 million weights with one. Recorded as bf16 is.
        ddp_timeout: seconds that processes wait for each other before the run ends with an error, as when a machine or
            its link is gone. Longer than the longest part that one process does alone (hashing images, METEOR).
        progress: progress bars on the main process.
        adapter: the text-side adapter.
        inside: what trains inside the frozen language model.
        backbone: the frozen language model.
        vision: the frozen image tower.
        task: the task and its data.
        optim: the optimizer.
        progressive: partial models for the first steps.
    """

    output_dir: str = "runs/default"
    seed: int = 42
    max_steps: int = 1000
    max_seconds: float | None = None
    per_device_train_batch_size: int = 64
    per_device_eval_batch_size: int = 256
    gradient_accumulation_steps: int = 1
    length_step: int | None = None
    bf16: bool | Literal["auto"] = "auto"
    eval_steps: int = 0
    save_steps: int = 0
    logging_steps: int = 20
    save_total_limit: int = 2
    metric_for_best_model: str | None = None
    resume_from_checkpoint: str | None = None
    report_to: str = "none"
    dataloader_num_workers: int = 0
    num_threads: int | None = None
    ddp_timeout: int = 1800
    progress: bool = True
    adapter: AdapterConfig = dataclasses.field(default_factory=AdapterConfig)
    inside: InsideConfig = dataclasses.field(default_factory=InsideConfig)
    backbone: BackboneConfig = dataclasses.field(default_factory=BackboneConfig)
    vision: VisionConfig = dataclasses.field(default_factory=VisionConfig)
    task: TaskConfig = dataclasses.field(default_factory=TaskConfig)
    optim: OptimConfig = dataclasses.field(default_factory=OptimConfig)
    progressive: ProgressiveConfig = dataclasses.field(default_factory=ProgressiveConfig)

    def __post_init__(self) -> None:
        for least, names in _AT_LEAST.items():
            for name in names:
                value = operator.attrgetter(name)(self)
                if value is not None and value < least:
                    raise BadConfig(f"{name}: wanted at least {least}, given {value}")
        if self.max_seconds is not None and not (self.max_seconds > 0 and self.optim.warmup_steps < 1):
            raise BadConfig(
                "max_seconds: wanted more than 0 and optim.warmup_steps as a share below 1, given "
                f"{self.max_seconds} and {self.optim.warmup_steps}"
            )
        if self.task.k_shot is not None and self.task.k_shot_total is not None:
            raise BadConfig("task.k_shot and task.k_shot_total: wanted one of them, given both")
        splits = (self.task.train_split, self.task.eval_split, self.task.test_split)
        if {self.task.k_shot, self.task.k_shot_total} != {None} and splits != ("train", "val", "test"):
            raise BadConfig(
                "task.k_shot or task.k_shot_total: wanted train_split train, eval_split val and test_split test, given "
                f"{', '.join(splits)}"
            )
        if not self.max_steps and (self.resume_from_checkpoint, self.max_seconds) != (None, None):
            given = f"resume_from_checkpoint {self.resume_from_checkpoint} and max_seconds {self.max_seconds}"
            raise BadConfig(f"max_steps: 0 scores a frozen model alone: wanted null for both, given {given}")
        if self.task.num_fewshot and self.max_steps:
            given = f"{self.task.num_fewshot} with max_steps {self.max_steps}"
            raise BadConfig(f"task.num_fewshot: wanted 0 where something trains, or max_steps 0, given {given}")
        least, most = self.task.sampling.tasks_per_batch or (1, 1)
        if not 1 <= least <= most:
            raise BadConfig(f"task.sampling.tasks_per_batch: wanted two rising numbers from 1, given {least}, {most}")
        if not (self.backbone.gguf_file or ".gguf").endswith(".gguf"):
            raise BadConfig(f"backbone.gguf_file: wanted a name ending in .gguf, given {self.backbone.gguf_file!r}")
        if self.backbone.chat_template and self.backbone.kind != "causal":
            raise BadConfig(f"backbone.chat_template: wanted false for a {self.backbone.kind} backbone, given true")
        if self.backbone.chat_template and self.adapter.covers != "text":
            raise BadConfig(f"adapter.covers: wanted text in a chat template, given {self.adapter.covers}")
        several = isinstance(self.vision.layer, list) and len(self.vision.layer) > 1 and self.vision.joined == "tokens"
        if several and self.vision.projection.name == "pixel_shuffle":
            why = "as layers that are joined by tokens are no square of patches"
            raise BadConfig(f"vision.projection: wanted another, {why}, given pixel_shuffle")
        _check_optimizer(self.optim, self.max_steps)
        _check_progressive(self.progressive, self.backbone.kind)
        if self.progressive.kind == "none" and self.progressive.evaluate == "part":
            raise BadConfig("progressive.evaluate: wanted full where progressive.kind is none, given part")
        if self.backbone.load_in is not None and self.progressive.kind in ("width", "compound"):
            given = f"{self.progressive.kind}, which sorts neurons, beside backbone.load_in {self.backbone.load_in}"
            raise BadConfig(f"progressive.kind: wanted none or depth, given {given}")

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


_AT_LEAST = {
    0: (
        "max_steps", "eval_steps", "save_steps", "dataloader_num_workers", "task.draw", "task.num_fewshot",
        "vision.num_workers",
    ),
    1: (
        "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps",
        "logging_steps", "save_total_limit", "length_step", "num_threads", "ddp_timeout", "task.num_beams",
        "task.max_train_samples", "task.max_eval_samples", "task.max_test_samples", "task.k_shot", "task.k_shot_total",
        "task.sampling.temperature", "task.sampling.limit",
        "vision.batch_size", "vision.pool_size", "progressive.score_rows",
    ),
    2: ("task.max_source_length", "task.max_target_length"),
}  # fmt: skip


def _check_optimizer(optim: OptimConfig, max_steps: int) -> None:
    for name, rate in optim.lr.items():
        if rate is None and name != "prompt":
            raise BadConfig(f"optim.lr.{name}: wanted a number, given null, which only prompt may be")
        if rate is not None and not rate >= 0:
            raise BadConfig(f"optim.lr.{name}: wanted at least 0, given {rate}")
    limit = optim.max_grad_norm
    for name, good, wanted in (
        ("weight_decay", optim.weight_decay >= 0, "at least 0"),
        ("eps", optim.eps > 0, "more than 0"),
        ("betas", all(0 <= beta < 1 for beta in optim.betas), "two numbers from 0 to below 1"),
        ("max_grad_norm", limit is None or limit > 0, "more than 0, or null for no clipping"),
        ("label_smoothing_factor", 0 <= optim.label_smoothing_factor < 1, "no less than 0 and below 1"),
        (
            "warmup_steps",
            0 <= optim.warmup_steps < (max_steps or math.inf),
            f"no less than 0 and fewer than max_steps={max_steps}",
        ),
    ):
        if not good:
            raise BadConfig(f"optim.{name}: wanted {wanted}, given {getattr(optim, name)}")


def _check_progressive(progressive: ProgressiveConfig, kind: str) -> None:
    shares, fractions = progressive.shares, progressive.fractions
    for name, good, wanted in (
        ("shares", len(shares) > 0 and all(share > 0 for share in shares), "shares above 0"),
        ("shares", abs(sum(shares) - 1) < 1e-6, "shares that add up to 1"),
        ("fractions", len(fractions) == len(shares), f"as many as shares, {len(shares)}"),
        ("fractions", all(0 < each <= 1 for each in fractions), "numbers above 0 and at most 1"),
        ("fractions", list(fractions) == sorted(fractions), "numbers that never fall"),
    ):
        if not good:
            raise BadConfig(f"progressive.{name}: wanted {wanted}, given {getattr(progressive, name)}")
    if progressive.kind != "none" and kind != "seq2seq":
        given = f"{progressive.kind!r}: only T5 has partial models"
        raise BadConfig(f"progressive.kind: wanted none for a {kind} backbone, given {given}")
