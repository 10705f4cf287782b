"""From a typed experiment to a run folder: the wiring that all training scripts share.

It alone reads `Experiment` and hands plain arguments to the components. Scripts import it; nothing below does.
"""

import dataclasses
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from jaxtyping import Float
from torch import Tensor

from dept_vl.adapters import Adapter, build_adapter
from dept_vl.adapters.initialise import from_labels, from_tokens, random_rows, sample_vocabulary
from dept_vl.backbones import Seq2SeqBackbone, load_seq2seq
from dept_vl.checkpoint.resumable import BadCheckpoint
from dept_vl.config import AdapterConfig, BadConfig, Experiment
from dept_vl.data.batches import EncodedExamples, Gather, TrainingBatches
from dept_vl.data.sources import Loaded, load_caption, load_vqa
from dept_vl.data.text import Tokenizer, load_tokenizer
from dept_vl.evaluate import Decoding, predict
from dept_vl.model import Network
from dept_vl.optim import build_optimizer, build_schedule
from dept_vl.shapes import write_shapes
from dept_vl.tasks import TASKS
from dept_vl.tasks.caption import CaptionTask
from dept_vl.tasks.vqa import VqaTask
from dept_vl.train import Plan, Trained, newest_checkpoint, train
from dept_vl.vision import FrozenClip, VisualProjection, extract
from dept_vl.vision.features import FeatureStore

SHAPES_ROOT = Path("data/shapes")
_LOADERS = {"vqa": load_vqa, "caption": load_caption}


@dataclasses.dataclass
class Parts:
    """Everything a run is made of, built and fitting together."""

    config: Experiment
    accelerator: Accelerator
    task: VqaTask | CaptionTask
    tokenizer: Tokenizer
    network: Network
    identities: dict[str, dict[str, Any]]  # "backbone", "vision"
    splits: dict[str, Loaded]
    encoded: dict[str, EncodedExamples]
    gather: Gather
    store: FeatureStore
    clip_weights: int  # of the image tower, which is not kept
    seconds: dict[str, float]  # by stage

    def decoding(self, **changes: Any) -> Decoding:
        task = self.config.task
        decoding = Decoding(task.max_target_length, task.num_beams, self.config.per_device_eval_batch_size)
        return dataclasses.replace(decoding, progress=self.config.progress, **changes)

    def predict(self, split: str, *, blind: bool = False) -> dict[Any, str]:
        return predict(
            self.accelerator, self.network, self.tokenizer, self.encoded[split], self.gather, self.decoding(),
            blind=blind,
        )  # fmt: skip

    def score(self, split: str, predictions: Mapping[Any, str], *, quick: bool = False) -> dict[str, Any]:
        """`quick`: captions by CIDEr alone, since METEOR starts java for seconds each time."""
        loaded, task = self.splits[split], self.task
        if quick and isinstance(task, CaptionTask):
            task = dataclasses.replace(task, metrics=(task.headline,))
        return task.score(predictions, loaded.examples, split_size=loaded.counts["in_split"])


def start(config: Experiment) -> Accelerator:
    """accelerate, threads and seeds. Uses all cores: `accelerate launch` alone gives a process one thread."""
    trackers = [each for each in config.report_to.split(",") if each and each != "none"]
    accelerator = Accelerator(
        mixed_precision="bf16" if config.bf16 else None,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        log_with=trackers or None,
        project_dir=config.output_dir,
    )
    if accelerator.mixed_precision == "fp16":
        raise BadConfig("accelerate's mixed_precision: fp16 makes T5 overflow; wanted bf16 or no")
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", accelerator.num_processes))
    torch.set_num_threads(config.num_threads or max(1, len(os.sched_getaffinity(0)) // processes))
    set_seed(config.seed)
    return accelerator


def start_trackers(config: Experiment, accelerator: Accelerator) -> None:
    """They may write into the run folder, so it has to be there."""
    accelerator.init_trackers("dept_vl", config=_flat(config.to_dict()))


def check(config: Experiment) -> None:
    """Everything that can be told before a weight is loaded: the adapter's sizes, the task's words, the checkpoint.

    Raises: ValueError naming the wanted and the given.
    """
    build_task(config)
    resume_point(config)
    rows = max(config.adapter.num_virtual_tokens or 0, 0)
    build_adapter(config.adapter.name, torch.zeros(rows, 1), adapter_arguments(config.adapter))


def build(config: Experiment, accelerator: Accelerator, splits: Mapping[str, tuple[str, int | None]]) -> Parts:
    """Loads data and frozen models, makes or finds the features, starts adapter and projection.

    `splits` maps a role (train, eval, test) to a split of the data and the greatest number of examples.
    """
    clock = _Clock()
    check(config)
    task = build_task(config)
    loaded = load_splits(config, task, accelerator, splits)
    clock.stop("read_data")
    tokenizer = load_tokenizer(config.backbone.model_name_or_path, config.backbone.revision)
    backbone = load_seq2seq(
        config.backbone.model_name_or_path,
        revision=config.backbone.revision,
        dtype=config.backbone.dtype,
        attn_implementation=config.backbone.attn_implementation,
    )
    clip = load_clip(config)
    clock.stop("load_models")
    store = features(config, clip, loaded.values(), accelerator)
    loaded = {role: _with_features(each, store) for role, each in loaded.items()}
    clock.stop("features")
    generator = torch.Generator().manual_seed(config.seed)
    adapter = start_adapter(config.adapter, backbone, tokenizer, generator)
    scale = config.vision.projection_scale
    scale = float(backbone.embedding_table.float().square().mean().sqrt()) if scale is None else scale
    projection = VisualProjection(clip.width, backbone.d_model, clip.num_patches, generator, scale=scale)
    network = Network(backbone, adapter, projection, backbone_dropout=config.backbone.dropout).to(accelerator.device)
    encoded = {
        role: EncodedExamples(
            each.examples,
            tokenizer,
            max_source_length=config.task.max_source_length,
            max_target_length=config.task.max_target_length,
        )
        for role, each in loaded.items()
    }
    gather = Resident(store, accelerator.device) if config.vision.resident else store.gather
    clock.stop("tokenise")
    identities = {"backbone": backbone.identity(), "vision": clip.identity()}
    clip_weights = sum(weight.numel() for weight in clip.parameters())
    return Parts(
        config, accelerator, task, tokenizer, network, identities, loaded, encoded, gather, store, clip_weights,
        clock.seconds,
    )  # fmt: skip


def fit(parts: Parts, folder: Path) -> Trained:
    """Trains the parts; the network ends with the best weights."""
    config, optim = parts.config, parts.config.optim
    optimizer = build_optimizer(
        parts.network.param_groups(), optim.lr, weight_decay=optim.weight_decay, betas=optim.betas, eps=optim.eps
    )
    schedule = build_schedule(
        optimizer, name=optim.lr_scheduler_type, max_steps=config.max_steps, warmup_steps=optim.warmup_steps
    )
    world = parts.accelerator.num_processes
    batches = TrainingBatches(
        parts.encoded["train"],
        parts.gather,
        batch_size=config.per_device_train_batch_size * world,
        seed=config.seed,
        rank=parts.accelerator.process_index,
        world=world,
    )
    metric = config.metric_for_best_model or parts.task.headline
    plan = Plan(
        max_steps=config.max_steps,
        eval_steps=config.eval_steps,
        save_steps=config.save_steps,
        logging_steps=config.logging_steps,
        save_total_limit=config.save_total_limit,
        max_grad_norm=optim.max_grad_norm,
        metric=metric,
        num_workers=config.dataloader_num_workers,
        progress=config.progress,
    )

    def evaluate() -> dict[str, float]:
        scores = parts.score("eval", parts.predict("eval"), quick=metric == parts.task.headline)
        if metric not in scores:
            raise BadConfig(f"metric_for_best_model: wanted one of {', '.join(_numbers(scores))}, given {metric!r}")
        return _numbers(scores)

    return train(
        parts.accelerator,
        parts.network,
        optimizer,
        schedule,
        batches,
        plan,
        folder,
        evaluate=evaluate if config.eval_steps else None,
        resume_from=resume_point(config),
    )


def resume_point(config: Experiment) -> Path | None:
    """The checkpoint to go on from, if any. Raises: BadCheckpoint where there is none."""
    given = config.resume_from_checkpoint
    if given is None:
        return None
    if given == "last":
        return newest_checkpoint(Path(config.output_dir))
    if not Path(given).is_dir():
        raise BadCheckpoint(f"resume_from_checkpoint: wanted a checkpoint folder or 'last', given {given!r}")
    return Path(given)


def build_task(config: Experiment) -> VqaTask | CaptionTask:
    """Raises: UnknownName, ValueError for a template or protocol that the task refuses."""
    task = config.task
    words = {"template": task.template} if task.template is not None else {}
    return TASKS[task.name](**words, **({"protocol": task.protocol} if task.name == "vqa" else {}))


def load_splits(
    config: Experiment,
    task: VqaTask | CaptionTask,
    accelerator: Accelerator,
    splits: Mapping[str, tuple[str, int | None]],
) -> dict[str, Loaded]:
    root = Path(config.task.root)
    if config.task.root == "shapes":
        root = SHAPES_ROOT
        with accelerator.main_process_first():
            write_shapes(root)
    load = _LOADERS[config.task.name]
    return {role: load(root, split, task, limit) for role, (split, limit) in splits.items()}


def load_clip(config: Experiment) -> FrozenClip:
    vision = config.vision
    return FrozenClip.load(
        vision.model_name,
        vision.pretrained,
        layer=vision.layer,
        pooling=vision.pooling,
        pool_size=vision.pool_size,
        resize=vision.resize,
    )


def features(config: Experiment, clip: FrozenClip, loaded: Iterable[Loaded], accelerator: Accelerator) -> FeatureStore:
    """The features of all images of these splits, extracted by the main process unless they are there."""
    vision = config.vision
    images = {key: path for each in loaded for key, path in each.image_paths.items()}
    with accelerator.main_process_first():
        return extract(
            clip.to(accelerator.device),
            images,
            Path(vision.feature_dir),
            dtype=vision.dtype,
            batch_size=vision.batch_size,
            num_workers=vision.num_workers,
            progress=config.progress and accelerator.is_main_process,
            on_unreadable=vision.on_unreadable,
        )


def adapter_arguments(config: AdapterConfig) -> dict[str, int | float | None]:
    """The constructor's arguments that the config gives; lora_alpha, whose null means something, goes to DePT alone."""
    names = ("num_virtual_tokens", "r", "max_length", "bottleneck")
    given = {name: getattr(config, name) for name in names if getattr(config, name) is not None}
    return given | ({"lora_alpha": config.lora_alpha} if config.name == "dept" else {})


def start_adapter(
    config: AdapterConfig,
    backbone: Seq2SeqBackbone,
    tokenizer: Tokenizer,
    generator: torch.Generator,
) -> Adapter:
    """The adapter with start rows from the backbone's table. Everything is drawn on the CPU from `generator`."""
    num, table = config.num_virtual_tokens or 0, backbone.embedding_table
    init, text = config.prompt_tuning_init, config.prompt_tuning_init_text
    if init in ("TEXT", "LABELS") and not text:
        raise BadConfig(f"adapter.prompt_tuning_init_text: wanted a text for {init}, given none")
    if init == "TEXT":
        rows = from_tokens(table, tokenizer(text)["input_ids"], num)
    elif init == "LABELS":
        labels = [tokenizer(label.strip(), add_special_tokens=False)["input_ids"] for label in text.split(",")]
        rows = from_labels(table, labels, num, generator, exclude=tokenizer.all_special_ids)
    elif init == "RANDOM":
        rows = random_rows(num, backbone.d_model, generator)
    else:
        rows = sample_vocabulary(table, num, generator, exclude=tokenizer.all_special_ids)
    return build_adapter(config.name, rows, adapter_arguments(config), generator)


class Resident:
    """A store's features in one tensor on the device: a gather of rows, no reading."""

    def __init__(self, store: FeatureStore, device: torch.device) -> None:
        table, self._rows = store.resident()
        self._table = table.to(device)

    def __call__(self, keys: Sequence[str]) -> Float[Tensor, "batch patch width"]:
        rows = torch.tensor([self._rows[key] for key in keys], device=self._table.device)
        return self._table.index_select(0, rows)


def _with_features(loaded: Loaded, store: FeatureStore) -> Loaded:
    """Without the examples whose image was unreadable; `counts` says how many."""
    examples = [example for example in loaded.examples if example.image in store]
    lost = len(loaded.examples) - len(examples)
    if not lost:
        return loaded
    if not examples:
        raise BadConfig(f"wanted at least one example with a readable image, given none of {lost}")
    return dataclasses.replace(loaded, examples=examples, counts={**loaded.counts, "dropped_unreadable_image": lost})


def _numbers(scores: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in scores.items() if isinstance(value, int | float)}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as trackers take them: "optim.lr.prompt" to a number or a word."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value if isinstance(value, int | float | str) else str(value)
    return flat


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def stop(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage], self._last = round(now - self._last, 3), now
