"""From the config to each component: settings become plain arguments here, in `run`, and nowhere below."""

import functools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from dept_vl.adapters import ADAPTERS, Adapter, build_adapter, from_config
from dept_vl.adapters.initialise import from_labels, from_tokens, random_rows, sample_vocabulary
from dept_vl.backbones import Backbone, TokenOrder, WrongOrder, load_backbone, token_order
from dept_vl.config import AdapterConfig, BadConfig, Experiment, OptimConfig
from dept_vl.data.carried import measure, tell
from dept_vl.data.chat import turn_of
from dept_vl.data.few_shot import FewShot
from dept_vl.data.own_text import load_own_text
from dept_vl.data.seeded_split import check_shares
from dept_vl.data.sources import Loaded, load_caption_splits, load_vqa_splits
from dept_vl.data.text_sources import HUB, load_text
from dept_vl.data.tokenizer import Tokenizer, load_fitting
from dept_vl.embedded.shapes import write_shapes, write_text_shapes
from dept_vl.metrics.captions import METRICS_OF_JAVA, fails, unavailable
from dept_vl.metrics.java import find_javas
from dept_vl.model import Part
from dept_vl.registry import did_you_mean
from dept_vl.run.images import tower_settings
from dept_vl.run.own_data import load_own
from dept_vl.run.sources import check_sources, check_teachers, read_sources
from dept_vl.run.tasks import build_task, check_selecting, resolve
from dept_vl.saved import check_identity, read_any
from dept_vl.saved.files import read_config
from dept_vl.tasks import OWN_TEXT, TASKS, CaptionTask, Mixture, Task, TextTask, VqaTask
from dept_vl.train import newest_checkpoint
from dept_vl.train.resumable import BadCheckpoint, check_checkpoint
from dept_vl.tuning import TUNINGS, Tuning, build_tuning
from dept_vl.vision.build import check_tower_settings
from dept_vl.vision.projections import PROJECTIONS, check_projection
from dept_vl.vision.store import refuse_read_only

GENERATED = "shapes"  # a root that is made, not read
SHAPES_ROOT, SHAPES_TEXT_ROOT = Path("data/shapes"), Path("data/shapes_text")


def check(config: Experiment, *, later: Collection[str] = ()) -> None:
    """Fail early, before a weight is loaded, on bad adapter sizes, task settings, rates, folders or checkpoints.
    later: settings that are not given yet, of which adapter.start.sources may then be missing.

    Raises: ValueError naming the wanted and the given.
    """
    task, config = build_task(config), resolve(config)
    order_of(config)
    check_shares(config.task.split_shares)
    resume_point(config)
    if task.visual:
        check_tower_settings(tower_settings(config))
        check_projection(config.vision.projection.name, config.vision.projection.args)
        refuse_read_only(Path(config.vision.feature_dir))
    number = len(task.members) if isinstance(task, Mixture) else None
    for key, args in (("adapter", config.adapter.args), ("inside", config.inside.args)):
        if (given := args.get("num_tasks", number)) != number:
            wanted = "null for one task" if number is None else f"{number} or null for {task.name}"
            raise BadConfig(f"{key}.args.num_tasks: wanted {wanted}, given {given!r}")
    sizes = [each for each in config.adapter.args.values() if isinstance(each, int) and each > 0]
    width = math.lcm(2, *sizes)  # the backbone's is not known yet: one that each argument divides
    adapter = from_config(config.adapter.name, width, config.adapter.args, {}, device="meta")
    tuning = build_inside(config)
    inside = [] if tuning is None else tuning.groups
    groups = [*adapter.param_groups(), *(["projection"] if task.visual else []), *inside]
    _check_rates(groups, config.optim.lr)
    if bool(groups) != bool(config.max_steps):
        wanted = f"at least 1, since {', '.join(groups)} trains" if groups else "0, since nothing trains"
        raise BadConfig(f"max_steps: wanted {wanted}, given {config.max_steps}")
    if tuning is not None and tuning.examples and task.visual:
        raise BadConfig(
            f"inside.args: wanted a start of {config.inside.method} that looks at no examples for {task.name}, whose "
            f"examples have images, given {config.inside.args}"
        )
    start = config.adapter.start
    if start.get("init") in ("TEXT", "LABELS") and not start.get("text"):
        raise BadConfig(f"adapter.start.text: wanted a text for {start['init']}, given none")
    if start.get("sources") or "adapter.start.sources" not in later:
        check_sources(config.adapter)
    check_teachers(config, visual=task.visual)
    if start.get("from") is not None:
        read_config(Path(start["from"]))
    check_selecting(config, task)
    metric = config.metric_for_best_model
    java = None if metric is None else metric.rpartition("/")[2]  # of a mixture: caption/METEOR
    if java in METRICS_OF_JAVA and (reason := _fails(java, tuple(find_javas()))):
        raise BadConfig(
            f"metric_for_best_model: wanted a metric that can be computed on this machine, given {metric!r}: {reason}"
        )


@functools.cache
def _fails(metric: str, javas: tuple[str, ...]) -> str | None:
    """A plan checks many configs, and METEOR starts for seconds."""
    return fails(metric)


def notes(config: Experiment) -> list[str]:
    """What the results will lack on this machine, a sentence each: to be told before a run trains."""
    names = config.task.mixture or config.task.name.split(",")
    if not any(isinstance(TASKS[name.strip()], CaptionTask) for name in names):
        return []
    lost: dict[str, list[str]] = {}
    for what, reason in unavailable().items():
        lost.setdefault(reason, []).append(what)
    return [f"not available on this machine: {', '.join(names)}: {reason}" for reason, names in lost.items()]


def _check_rates(groups: Sequence[str], rates: Mapping[str, float | None]) -> None:
    """One config may serve several adapters, so a rate may name a group that does not train here, but no misspelt one.

    Raises: BadConfig.
    """
    for group in groups:
        if group not in rates:
            wanted = f"a rate for {group!r}, which trains here"
            raise BadConfig(f"optim.lr: wanted {wanted}, given {dict(rates)}; set --optim.lr.{group}")
    known = {*OptimConfig().lr, *(group for each in TUNINGS.values() for group in each.groups)}
    for name in rates:
        if name not in {*groups, *known} and (hint := did_you_mean(name, groups)):
            raise BadConfig(f"optim.lr: unknown group {name!r}, wanted {', '.join(groups)}.{hint}")


def order_of(config: Experiment) -> TokenOrder:
    """In which the frozen model reads prompt, text and visual tokens. Raises: BadConfig for one that it cannot read."""
    given = config.vision.token_order
    try:
        return token_order(config.backbone.kind, None if given == "auto" else given.split(","))
    except WrongOrder as error:
        raise BadConfig(f"vision.token_order: {error}") from error


def resume_point(config: Experiment) -> Path | None:
    """The checkpoint to go on from, if any. Raises: BadCheckpoint where there is none, or a damaged one is named."""
    given = config.resume_from_checkpoint
    if given is None:
        return None
    if given == "last":
        return newest_checkpoint(Path(config.output_dir))
    if not Path(given).is_dir():
        raise BadCheckpoint(f"resume_from_checkpoint: wanted a checkpoint folder or 'last', given {given!r}")
    check_checkpoint(Path(given))
    return Path(given)


def load_splits(
    config: Experiment, task: Task, accelerator: Accelerator, splits: Mapping[str, tuple[str, int | None]]
) -> dict[str, Loaded]:
    """As `read_splits`; what is generated or fetched, is so by one process, before the others look."""
    return read_splits(config, task, splits, accelerator.main_process_first)


def read_splits(
    config: Experiment,
    task: Task,
    splits: Mapping[str, tuple[str, int | None]],
    first: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> dict[str, Loaded]:
    """The examples of each role's split, from the task's root. first: lets one process go before the others."""
    given = config.task
    root: Path | str = given.root if given.root == HUB else Path(given.root)
    with first():
        if given.root == GENERATED:
            root = _write_shapes(task)
        if isinstance(task, TextTask):
            few = None
            if given.k_shot is not None or given.k_shot_total is not None:
                few = FewShot(given.k_shot, given.k_shot_total, given.draw, given.few_shot_val)
            if task.name == OWN_TEXT.name:
                own = {"columns": given.columns, "on_bad_row": given.on_bad_row, "shares": given.split_shares}
                return load_own_text(root, splits, task, few_shot=few, **own)
            return {role: load_text(root, split, task, limit, few) for role, (split, limit) in splits.items()}
        if (own := load_own(config, root, splits, task)) is not None:
            return own
    load = load_vqa_splits if isinstance(task, VqaTask) else load_caption_splits
    return load(root, splits, task)


def _write_shapes(task: Task) -> Path:
    if not isinstance(task, TextTask):
        return write_shapes(SHAPES_ROOT)
    if task.name.startswith("shapes-"):
        return write_text_shapes(SHAPES_TEXT_ROOT)
    if task.source.hub is None:
        raise BadConfig(f"task.root: wanted {task.source.home}, for {task.name}, given 'shapes'")
    raise BadConfig(
        f"task.root: 'shapes' holds the generated tasks only, not {task.name}: wanted a folder with its official files "
        f"(from {task.source.home}), or 'hub' to fetch {task.source.hub}"
    )


def start_adapter(
    config: AdapterConfig, backbone: Backbone, tokenizer: Tokenizer, generator: torch.Generator
) -> Adapter:
    """The adapter with start rows from the backbone's table, or from the frozen sources that it mixes. Everything is
    drawn on the CPU from `generator`."""
    if ADAPTERS[config.name].mixes_sources:
        rows, hashes = read_sources(config, backbone.identity(), backbone.d_model)
        adapter = build_adapter(config.name, rows, config.args, generator)
        adapter.sources = hashes
        return adapter
    num, table = ADAPTERS[config.name].start_rows(config.args), backbone.embedding_table
    init, text = config.start.get("init"), config.start.get("text")
    if init in ("TEXT", "LABELS"):
        words = [each.strip() for each in (text.split() if init == "TEXT" else text.split(","))]
        tell("adapter.start.text", measure(tokenizer, list(dict.fromkeys(words))), above=0.0, refuse=True)
    if init == "TEXT":
        rows = from_tokens(table, tokenizer(text)["input_ids"], num)
    elif init == "LABELS":
        labels = [tokenizer(label.strip(), add_special_tokens=False)["input_ids"] for label in text.split(",")]
        rows = from_labels(table, labels, num, generator, exclude=tokenizer.all_special_ids)
    elif init == "RANDOM":
        rows = random_rows(num, backbone.d_model, generator)
    elif init not in (None, "SAMPLE_VOCAB"):
        raise BadConfig(f"adapter.start.init: wanted a start of `Start`, given {init!r}")
    else:
        rows = sample_vocabulary(table, num, generator, exclude=tokenizer.all_special_ids)
    return build_adapter(config.name, rows, config.args, generator)


def build_inside(config: Experiment, generator: torch.Generator | None = None) -> Tuning | None:
    """What trains inside the frozen model, not attached yet. Raises: UnknownName, BadArguments, BadTuning."""
    given = config.inside
    return None if given.method is None else build_tuning(given.method, given.args, generator)


def load_language(config: Experiment) -> tuple[Tokenizer, Backbone]:
    """The frozen language model and its tokenizer, checked to belong together."""
    given = config.backbone
    backbone = load_backbone(
        given.source,
        kind=given.kind,
        revision=given.revision,
        dtype=given.dtype,
        attn_implementation=given.attn_implementation,
        load_in=given.load_in,
    )
    tokenizer = load_fitting(
        given.source,
        backbone.token_facts(),
        kind=given.kind,
        revision=given.revision,
        pad_token=given.pad_token,
    )
    if given.chat_template:
        backbone.chat(turn_of(tokenizer).end)
    if given.gradient_checkpointing:
        backbone.checkpoint_activations()
    return tokenizer, backbone


def start_from(
    folder: str | None, parts: Mapping[str, Part], identities: Mapping[str, Mapping[str, Any]]
) -> tuple[str, ...]:
    """Puts the weights of a run or adapter folder into the new parts; returns what was not copied, a line each.

    Raises: BadAdapterFolder, MismatchedBackbone, WrongSource.
    """
    if folder is None:
        return ()
    adapter, projection = parts["adapter"], parts.get("projection")
    saved = read_any(Path(folder)).of_width(adapter.token_dim)
    source = {**saved.config, "vision": None}  # a projection may stay behind, whatever CLIP it belongs to
    check_identity(source, identities["backbone"], d_model=adapter.token_dim)
    alone = "inside" in parts and not list(adapter.parameters())
    notes = () if alone else adapter.start_from(saved.adapter)
    notes += _start_inside(parts.get("inside"), saved.inside)
    if saved.projection is None:
        return notes if projection is None else (*notes, "the visual projection starts anew: the source read no images")
    if projection is None:
        return (*notes, "the visual projection stays behind: this task reads no images")
    check_identity(saved.config, identities["backbone"], identities["vision"], d_model=adapter.token_dim)
    if projection.config() != saved.projection.config() or type(projection) is not type(saved.projection):
        return (*notes, f"the visual projection starts anew: the source's is {PROJECTIONS.name_of(saved.projection)}")
    projection.load_state_dict(saved.projection.state_dict())
    return notes


def _start_inside(own: Tuning | None, given: Tuning | None) -> tuple[str, ...]:
    if given is None:
        return () if own is None else ("what trains inside the frozen model starts anew: the source has nothing there",)
    if type(own) is not type(given):
        return (f"the source's {type(given).__name__} inside the frozen model stays behind",)
    return own.start_from(given)
