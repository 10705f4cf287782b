"""The task of a config or the tasks of its mixture, and the config with what it leaves to them."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dept_vl.adapters import ADAPTERS, arguments_of
from dept_vl.config import BadConfig, Experiment, TaskConfig
from dept_vl.data.sources import Loaded
from dept_vl.metrics.answers import AUTO
from dept_vl.registry import did_you_mean
from dept_vl.run.answers import listed_answers
from dept_vl.tasks import OWN_TEXT, TASKS, CaptionTask, Mixture, Task, TextTask, VqaTask
from dept_vl.tasks.own_text import with_labels
from dept_vl.tuning import TUNINGS


def members(config: Experiment) -> tuple[Experiment, ...]:
    """Each task of a mixture as an experiment of its own, in a folder below the run's; of one task the config alone.

    Raises: UnknownName, BadConfig.
    """
    given = config.task
    if given.mixture is None:
        return (config,)
    if given.template is not None:
        raise BadConfig(
            f"task.template: wanted null for a mixture, whose tasks have their own, given {given.template!r}"
        )
    names = [TASKS[name].name for name in given.mixture]
    return tuple(
        dataclasses.replace(
            config,
            output_dir=str(Path(config.output_dir) / name),
            metric_for_best_model=None,
            task=dataclasses.replace(
                given,
                name=name,
                mixture=None,
                score=given.score if name == VqaTask.name else AUTO,
                answers=given.answers if name == VqaTask.name else None,
            ),
        )
        for name in names
    )


def build_task(config: Experiment) -> Task | Mixture:
    """The task under the config's protocol, in its words.

    Raises: UnknownName, BadConfig, BadMixture, ValueError for a template or protocol that the task refuses.
    """
    given = config.task
    if given.mixture is not None:
        return Mixture(tuple(build_task(each) for each in members(config)))
    task = TASKS[given.name]
    if given.protocol is not None and given.protocol != task.protocol:
        if isinstance(task, CaptionTask):
            raise BadConfig(f"task.protocol: captions have only {task.protocol}, given {given.protocol!r}")
        task = task.under(given.protocol)
    if isinstance(task, VqaTask):
        task = dataclasses.replace(task, metric=given.score)
    elif given.score != AUTO:
        raise BadConfig(f"task.score: only vqa has a choice of scores, given {given.score!r} for {given.name}")
    if given.answers is not None:
        if not isinstance(task, VqaTask):
            raise BadConfig(f"task.answers: only vqa has them, given {given.answers!r} for {given.name}")
        task = dataclasses.replace(task, candidates=listed_answers(given.answers))
    if given.labels is not None:
        if task.name != OWN_TEXT.name:
            raise BadConfig(
                f"task.labels: only {OWN_TEXT.name} takes them, given {list(given.labels)} for {given.name}"
            )
        task = with_labels(task, given.labels)
    if isinstance(task, TextTask) and task.name != OWN_TEXT.name and given.columns:
        raise BadConfig(f"task.columns: only your own data has them, given {given.columns} for {given.name}")
    changes = {"template": given.template, "label_form": given.label_form}
    if not isinstance(task, TextTask) and config.backbone.kind == "causal":
        changes["template"] = _causal_template(task, given.template)
    changes = {name: value for name, value in changes.items() if value is not None}
    if not isinstance(task, TextTask):
        for name in ("label_form", "k_shot", "k_shot_total", "num_fewshot"):
            if getattr(given, name):
                raise BadConfig(
                    f"task.{name}: only text tasks have it, given {getattr(given, name)!r} for {given.name}"
                )
    return dataclasses.replace(task, **changes)


def suit(task: Task, loaded: Mapping[str, Loaded], config: TaskConfig) -> Task:
    """The task with the score that its data allow, and with training's commonest answers where it chooses among these.
    loaded: by role; what is scored is all but train.

    Raises: TooFewAnswers, TooManyAnswers; BadConfig for a number of answers without a training set.
    """
    if not isinstance(task, VqaTask):
        return task
    if isinstance(config.answers, int):
        if "train" not in loaded:
            given = f"{config.answers}: no training set is read here"
            raise BadConfig(f"task.answers: wanted a list or a file, given {given}")
        task = task.among_commonest(loaded["train"].examples, config.answers)
    scored = [role for role in loaded if role != "train"] or list(loaded)
    return task.suited([example for role in scored for example in loaded[role].examples])


def check_selecting(config: Experiment, task: Task | Mixture) -> None:
    """Raises: BadConfig for a metric_for_best_model that the task does not have."""
    metric = config.metric_for_best_model
    if metric is not None and metric not in task.selecting:
        hint = did_you_mean(metric, task.selecting)
        raise BadConfig(f"metric_for_best_model: wanted one of {', '.join(task.selecting)}, given {metric!r}.{hint}")


def _causal_template(task: VqaTask | CaptionTask, given: str | None) -> str:
    """Raises: BadConfig for one that ends in a blank, which a tokenizer joins to the answer's first word."""
    template = task.causal_template if given is None else given
    if template != template.rstrip():
        raise BadConfig(
            f"task.template: wanted no blank at its end, behind which a decoder-only model answers, given {template!r}"
        )
    return template


def resolve(config: Experiment) -> Experiment:
    """The config with what it leaves to the task: protocol, label form, lengths, and arguments of the methods that are
    the task's. Of a mixture it leaves them null, for each task has its own; the methods take the greatest length and
    the number of tasks.

    Raises: as `build_task`.
    """
    task = build_task(config)
    tasks = task.members if isinstance(task, Mixture) else (task,)
    facts = [_task_facts(own, each.task) for own, each in zip(tasks, members(config), strict=True)]
    left = {"max_length": max(each["max_source_length"] for each in facts)}
    if isinstance(task, Mixture):
        left["num_tasks"] = len(tasks)
        facts = [{"name": task.name, "mixture": tuple(each.name for each in tasks)}]
    adapter, inside = config.adapter, config.inside
    adapter = dataclasses.replace(adapter, args=_filled(ADAPTERS[adapter.name], adapter.args, left))
    if inside.method is not None:
        inside = dataclasses.replace(inside, args=_filled(TUNINGS[inside.method], inside.args, left))
    task = dataclasses.replace(config.task, **facts[0])
    return dataclasses.replace(config, adapter=adapter, inside=inside, task=task)


def _filled(method: type, given: Mapping[str, Any], left: Mapping[str, int]) -> dict[str, Any]:
    """`given` with those of `left` that the method takes and that nobody gave."""
    known = arguments_of(method)
    return {**given, **{name: value for name, value in left.items() if name in known and given.get(name) is None}}


def _task_facts(task: Task, given: TaskConfig) -> dict[str, Any]:
    facts = {"name": task.name, "protocol": task.protocol}
    if isinstance(task, TextTask):
        facts["label_form"] = task.label_form
    for name in ("max_source_length", "max_target_length"):
        facts[name] = getattr(task, name) if getattr(given, name) is None else getattr(given, name)
    return facts
