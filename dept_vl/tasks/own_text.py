"""A text task of a user's own: any file of rows, a template over its columns, classes or free answers. No Python.

    review,stars                       --task own_text --task.root reviews.csv
    A dull film.,bad                   --task.columns '{source: review, target: stars}' --task.labels '[bad, good]'
    "Go, and see it.",good

`own_text` is the task before a config has said anything: one text in, free text out. `data.own_text` reads the rows and
gives each field of the template its column.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from dept_vl.metrics import squad
from dept_vl.tasks.example import Example, template_fields
from dept_vl.tasks.source import Row, Source, Splits
from dept_vl.tasks.text_task import Answer, BadRow, TextTask

SOURCE, TARGET = "source", "target"
"""The fields of a row: the text to read, where the template names no other, and the answer."""


class BadLabels(ValueError):
    """Labels that cannot be told from one another, or none."""


def with_labels(task: TextTask, labels: Sequence[str]) -> TextTask:
    """The task with classes to choose among, scored by accuracy and macro F1. Raises: BadLabels."""
    labels = tuple(label.strip() for label in labels)
    if len(labels) < 2 or len(set(labels)) < len(labels) or not all(labels):
        raise BadLabels(f"task.labels: wanted at least two different labels, given {list(labels)!r:.200}")
    return dataclasses.replace(
        task,
        label_names=labels,
        label_form="words",
        selecting=("accuracy", "f1_macro"),
        scores=None,
        answers=_one_of_the_labels,
    )


def _one_of_the_labels(task: TextTask, row: Row) -> Answer:
    """By its name alone: a number is a class only where the labels have it."""
    given = row[TARGET][0]
    if len(row[TARGET]) > 1 or given not in task.label_names:
        raise BadRow(f"wanted one of {', '.join(task.label_names)}, given {', '.join(row[TARGET])!r:.80}")
    label = task.labels[task.label_names.index(given)]
    return Answer((label,), (label,))


def _free(task: TextTask, row: Row) -> Answer:
    return Answer(tuple(dict.fromkeys(row[TARGET])), tuple(row[TARGET]))


def _free_scores(task: Any, predictions: Sequence[str], examples: Sequence[Example]) -> dict[str, float]:
    found = squad.answer_scores(task, predictions, examples)
    return {"exact_match": found["exact_match"], "token_f1": found["f1"]}


def needed_fields(task: TextTask) -> tuple[str, ...]:
    """The fields that a row must give: the template's in its order of letters, then the answer."""
    return (*sorted(template_fields(task.template)), TARGET)


OWN_TEXT = TextTask(
    name="own_text",
    source=Source(folders=(), files={}, home="a file of your own: docs/own_data.md"),
    splits=Splits("own", val="val", test="test"),
    template=f"{{{SOURCE}}}",
    context=None,
    scores=_free_scores,
    selecting=("exact_match", "token_f1"),
    protocols={"own_splits": {}},
    protocol="own_splits",
    answers=_free,
    max_source_length=256,
    max_target_length=32,
)
