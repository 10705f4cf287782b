"""From the config to each component: the only place where settings become plain arguments."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor

from dept_vl.adapters import Adapter, build_adapter
from dept_vl.adapters.initialise import from_labels, from_tokens, random_rows, sample_vocabulary
from dept_vl.backbones import Seq2SeqBackbone
from dept_vl.checkpoint.resumable import BadCheckpoint
from dept_vl.config import AdapterConfig, BadConfig, Experiment
from dept_vl.data.sources import Loaded, load_caption, load_vqa
from dept_vl.data.text import Tokenizer
from dept_vl.registry import did_you_mean
from dept_vl.shapes import write_shapes
from dept_vl.tasks import TASKS
from dept_vl.tasks.caption import CaptionTask
from dept_vl.tasks.vqa import VqaTask
from dept_vl.train import newest_checkpoint
from dept_vl.vision import FrozenClip, extract
from dept_vl.vision.features import FeatureStore

SHAPES_ROOT = Path("data/shapes")
_LOADERS = {"vqa": load_vqa, "caption": load_caption}


def check(config: Experiment) -> None:
    """Everything that can be told before a weight is loaded: the adapter's sizes, the task's words, the checkpoint.

    Raises: ValueError naming the wanted and the given.
    """
    task = build_task(config)
    resume_point(config)
    rows = max(config.adapter.num_virtual_tokens or 0, 0)
    adapter = build_adapter(config.adapter.name, torch.zeros(rows, 1), adapter_arguments(config.adapter))
    for group in (*adapter.param_groups(), "projection"):
        if group not in config.optim.lr:
            raise BadConfig(f"optim.lr: wanted a rate for {group!r}, which trains here, given {config.optim.lr}")
    start = config.adapter.prompt_tuning_init
    if start in ("TEXT", "LABELS") and not config.adapter.prompt_tuning_init_text:
        raise BadConfig(f"adapter.prompt_tuning_init_text: wanted a text for {start}, given none")
    metric = config.metric_for_best_model
    if metric is not None and metric not in task.selecting:
        hint = did_you_mean(metric, task.selecting)
        raise BadConfig(f"metric_for_best_model: wanted one of {', '.join(task.selecting)}, given {metric!r}.{hint}")


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


def with_features(loaded: Loaded, store: FeatureStore) -> Loaded:
    """Without the examples whose image was unreadable; `counts` says how many."""
    examples = [example for example in loaded.examples if example.image in store]
    lost = len(loaded.examples) - len(examples)
    if not lost:
        return loaded
    if not examples:
        raise BadConfig(f"wanted at least one example with a readable image, given none of {lost}")
    return dataclasses.replace(loaded, examples=examples, counts={**loaded.counts, "dropped_unreadable_image": lost})
