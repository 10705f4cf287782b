"""From a typed experiment to everything that a run is made of: the wiring that all training scripts share.

It alone reads `Experiment` and hands plain arguments to the components. Scripts import it; nothing below does.
"""

import contextlib
import datetime
import gc
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs, set_seed

from dept_vl.backbones import Backbone, Choices
from dept_vl.config import BadConfig, Experiment
from dept_vl.data.batches import EncodedExamples, single_examples
from dept_vl.data.demonstrations import demonstrated
from dept_vl.data.sources import Loaded
from dept_vl.data.text import Kind, encode_targets
from dept_vl.data.tokenizer import Tokenizer
from dept_vl.model import Network, Part
from dept_vl.run.components import (
    build_inside,
    load_language,
    load_splits,
    order_of,
    start_adapter,
    start_from,
)
from dept_vl.run.compute import settle_attention
from dept_vl.run.data_lines import Report, report_notes
from dept_vl.run.images import StoredImages, store_images
from dept_vl.run.launcher import check_launcher, check_processes, precision, rests, threads
from dept_vl.run.losses import tell_losses
from dept_vl.run.parts import Parts, mix, timed
from dept_vl.run.prompt_rate import embedding_rms, with_prompt_rate
from dept_vl.run.sources import read_teachers
from dept_vl.run.tasks import build_task, check_selecting, members, resolve, suit
from dept_vl.saved import SavedAdapter, check_identity
from dept_vl.tasks import Mixture, Task
from dept_vl.train import flat
from dept_vl.train.evaluate import Answerer, Decoding
from dept_vl.vision import build_projection


def start(config: Experiment) -> Accelerator:
    """accelerate, threads and seeds. Uses all cores: `accelerate launch` alone gives a process one thread.

    Raises: BadConfig for a launch that does not fit the config.
    """
    check_launcher(config)
    trackers = [each for each in config.report_to.split(",") if each and each != "none"]
    shards = os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true"
    if shards and config.bf16 is True:
        raise BadConfig(
            "bf16: DeepSpeed keeps the compute type to itself; wanted backbone.dtype bfloat16 in its place, in which "
            "the frozen model is held and computes, while the trained weights stay float32"
        )
    mixed, autocast = precision(config)
    accelerator = Accelerator(
        cpu=not (torch.cuda.is_available() or shards),
        mixed_precision=mixed,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        log_with=trackers or None,
        project_dir=config.output_dir,
        kwargs_handlers=[
            autocast,
            _process_group(config),
            DistributedDataParallelKwargs(find_unused_parameters=rests(config)),
        ],
    )
    if accelerator.gradient_accumulation_steps != config.gradient_accumulation_steps:
        raise BadConfig(
            f"gradient_accumulation_steps: accelerate's environment sets {accelerator.gradient_accumulation_steps}, "
            f"the config {config.gradient_accumulation_steps}; wanted one value"
        )
    check_processes(config, accelerator)
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", accelerator.num_processes))
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    torch.set_num_threads(threads(config, cores, processes))
    set_seed(config.seed, device_specific=True)  # ranks draw dropout masks of their own; weights have a generator
    return accelerator


def _process_group(config: Experiment) -> InitProcessGroupKwargs:
    """Without a GPU the backend is named: else accelerate forms no group where DeepSpeed is asked for, and every
    process takes itself for the only one."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return InitProcessGroupKwargs(
        backend="gloo" if several and not torch.cuda.is_available() else None,
        timeout=datetime.timedelta(seconds=config.ddp_timeout),
    )


def start_trackers(config: Experiment, accelerator: Accelerator) -> None:
    """They may write into the run folder, so it has to be there."""
    accelerator.init_trackers("dept_vl", config=flat(config.to_dict(), "."))


@contextlib.contextmanager
def _no_search_for_cycles() -> Iterator[None]:
    """Examples have none, and looking for them among millions takes a quarter of the time in which they are read."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


@_no_search_for_cycles()
def build(
    config: Experiment,
    accelerator: Accelerator,
    splits: Mapping[str, tuple[str, int | None]],
    *,
    saved: SavedAdapter | None = None,
    report: Report | None = None,
) -> Parts:
    """Loads data and frozen models, makes or finds the features, starts adapter and projection or takes saved ones.

    `splits` maps a role (train, eval, test) to a split of the data and the greatest number of examples. The config is a
    resolved one. report: gets a sentence each about how own data was understood, on the main process.

    Raises: what cannot be loaded, by name; MismatchedBackbone for a saved adapter beside other frozen models.
    """
    seconds: dict[str, float] = {}
    configs = [resolve(each) for each in members(config)]
    tasks = [build_task(each) for each in configs]
    with timed(seconds, "read_data"):
        loaded = {
            (task.name, role): each
            for task, own in zip(tasks, configs, strict=True)
            for role, each in load_splits(own, task, accelerator, splits).items()
        }
    if report is not None and accelerator.is_main_process:
        report_notes(loaded.values(), report)
    tasks = [
        suit(task, {role: loaded[task.name, role] for role in splits}, own.task)
        for task, own in zip(tasks, configs, strict=True)
    ]
    check_selecting(config, Mixture(tuple(tasks)) if len(tasks) > 1 else tasks[0])
    with timed(seconds, "load_models"):
        tokenizer, backbone = load_language(config)
        config = settle_attention(config, accelerator, backbone)
        configs = [replace(each, backbone=config.backbone) for each in configs]
    left = config.optim.lr.get("prompt", 0.0) is None and config.max_steps > 0
    config, *configs = (with_prompt_rate(each, backbone) for each in (config, *configs))
    if left and saved is None and report is not None and accelerator.is_main_process:
        report(f"prompt rate {config.optim.lr['prompt']:g}, 0.3 times the embedding table's root mean square")
    with timed(seconds, "features"):
        images = store_images(config, loaded, accelerator) if tasks[0].visual else None
    loaded = images.loaded if images else loaded
    rows = [{role: loaded[task.name, role] for role in splits} for task in tasks]
    with timed(seconds, "tokenise"):
        encoded = [
            _encode(own, task, each, tokenizer, backbone.text_form, place if len(tasks) > 1 else None)
            for place, (task, own, each) in enumerate(zip(tasks, configs, rows, strict=True))
        ]
    identities = {"backbone": backbone.identity()} | ({"vision": images.identity} if images else {})
    if saved is not None:
        check_identity(saved.config, identities["backbone"], identities.get("vision"), d_model=backbone.d_model)
        trained, not_copied = saved.parts, ()
        if saved.inside is not None:
            saved.inside.attach(backbone)
    else:
        trained = _new_parts(config, tokenizer, backbone, images, encoded, accelerator.device)
        not_copied = start_from(config.adapter.start.get("from"), trained, identities)
    network = Network(
        backbone,
        trained,
        backbone_dropout=config.backbone.dropout,
        label_smoothing=config.optim.label_smoothing_factor,
        covers=config.adapter.covers,
        order=order_of(config),
    ).to(accelerator.device)
    if saved is None:
        network.teachers, hashes = read_teachers(config.adapter, identities["backbone"], backbone.d_model)
        network.adapter.sources = hashes or network.adapter.sources
        if config.optim.choice_losses:
            if network.teachers is not None:
                raise BadConfig("optim.choice_losses: wanted false where an adapter learns from teachers, given true")
            network.choices = choices_of(tasks, [each["train"] for each in encoded], tokenizer, backbone.text_form)
    common = {
        "accelerator": accelerator,
        "tokenizer": tokenizer,
        "network": network,
        "identities": identities,
        "gather": images.gather if images else None,
        "clip_weights": images.weights if images else 0,
        "not_copied": not_copied,
        "seconds": seconds,
    }
    parts = []
    for task, own, each, own_encoded in zip(tasks, configs, rows, encoded, strict=True):
        tell_losses(task, tokenizer, own_encoded, warn=accelerator.is_main_process)
        _check_positions(network, own_encoded, _longest_answer(own, task, network, tokenizer))
        parts.append(Parts(own, task=task, splits=each, encoded=own_encoded, **common))
    return mix(config, parts) if len(parts) > 1 else parts[0]


def _encode(
    config: Experiment, task: Task, loaded: Mapping[str, Loaded], tokenizer: Tokenizer, kind: Kind, place: int | None
) -> dict[str, EncodedExamples]:
    """`place`: of the task in the mixture that trains."""
    facts = {name: getattr(config.task, name) for name in ("max_source_length", "max_target_length")}
    facts |= {"task": place, "own_cue": task.visual, "kind": kind}
    examples = {role: each.examples for role, each in loaded.items()}
    encoded, number = {}, config.task.num_fewshot
    if number:  # drawn from what is not cut; a row has room for as many texts and answers as it shows
        encoded["train"] = train = EncodedExamples(examples.pop("train"), tokenizer, **facts)
        most = config.task.max_source_length
        whole = [each for each, length in zip(train.examples, train.source_lengths, strict=True) if length < most]
        facts["max_source_length"] = (number + 1) * (most + config.task.max_target_length)
        examples = {
            role: demonstrated(each, whole, number, config.seed, tokenizer, kind) for role, each in examples.items()
        }
    return encoded | {
        role: EncodedExamples(each, tokenizer, trained=role == "train", **facts) for role, each in examples.items()
    }


def _new_parts(
    config: Experiment,
    tokenizer: Tokenizer,
    backbone: Backbone,
    images: StoredImages | None,
    encoded: Sequence[Mapping[str, EncodedExamples]],
    device: torch.device,
) -> dict[str, Part]:
    generator = torch.Generator().manual_seed(config.seed)
    parts: dict[str, Part] = {"adapter": start_adapter(config.adapter, backbone, tokenizer, generator)}
    if images is not None:
        scale = config.vision.projection_scale
        scale = embedding_rms(backbone) if scale is None else scale
        given, sizes = config.vision.projection, (images.width, backbone.d_model, images.num_patches)
        parts["projection"] = build_projection(given.name, given.args, *sizes, generator, scale=scale)
        parts["projection"].fit(images.sample("train"))
    inside = build_inside(config, generator)
    if inside is not None:
        if inside.examples:
            backbone.to(device)
            train = [each["train"] for each in encoded]
            inside.look_at(backbone, single_examples(train, inside.examples, config.seed, device))
        inside.attach(backbone)
        parts["inside"] = inside
    return parts


def choices_of(tasks: Sequence[Task], train: Sequence[EncodedExamples], tokenizer: Tokenizer, kind: Kind) -> Choices:
    """For `optim.choice_losses`, of one task and its training examples. Raises: BadConfig."""
    names = ", ".join(each.name for each in tasks)
    if len(tasks) > 1 or not tasks[0].candidates:
        raise BadConfig(f"optim.choice_losses: wanted one task that chooses among labels, given {names}")
    choices = Choices(encode_targets(tokenizer, tasks[0].candidates, kind))
    [examples] = train
    if others := choices.others(examples.targets[row] for row in range(len(examples.targets))):
        given = f"{others:,} of {len(examples.targets):,} that are none, or are cut at task.max_target_length"
        raise BadConfig(f"optim.choice_losses: wanted training targets that are labels of {names}, given {given}")
    return choices


def _longest_answer(config: Experiment, task: Task, network: Network, tokenizer: Tokenizer) -> int:
    """Tokens of the longest answer that evaluation may give. Fails early on labels with equal tokens."""
    if not task.candidates or config.task.decoding != "score":
        return config.task.max_target_length
    answerer = Answerer(network, tokenizer, Decoding(config.task.max_target_length, candidates=task.candidates))
    return answerer.longest_candidate


def _check_positions(network: Network, encoded: Mapping[str, EncodedExamples], answer: int) -> None:
    """`answer`: tokens of the longest answer that evaluation may give.

    Raises: BadConfig where a row would have more tokens than the backbone has positions.
    """
    most = network.backbone.max_positions
    for role, each in encoded.items():
        tokens = {
            "prompt": network.adapter.num_virtual_tokens,
            "source": int(each.source_lengths.max()),
            "visual": network.projection.num_tokens if network.projection is not None else 0,
            "target": int(each.targets.lengths.max()) if role == "train" else answer,
        }
        if most is not None and sum(tokens.values()) - 1 > most:  # the last target token is never read
            given = " + ".join(f"{number} ({name})" for name, number in tokens.items() if number)
            raise BadConfig(f"{role}: wanted at most {most} tokens a row, the backbone's positions, given {given} - 1")
