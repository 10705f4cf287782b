"""Requests as rows, checked before any model runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dept_vl.model import BASE
from dept_vl.serve.named import NamedAdapters
from dept_vl.serve.pictures import Picture
from dept_vl.tasks import TASKS
from dept_vl.tasks.example import template_fields
from dept_vl.train.evaluate import Decoding

_VERBS = {"vqa": "answer", "caption": "caption"}  # of other tasks "generate", and "classify" where they have labels
_WANTED = {"answer": "'vqa'", "caption": "'caption'", "generate": "a text task", "classify": "a text task with labels"}
Text = str | Mapping[str, Any]
"""A row of a text task with the hub's fields, no label needed; or a string, where the template has one field."""


class WrongTask(ValueError):
    """A question for an adapter that captions, or the reverse, or one whose prompt format is not known."""


class WrongRows(ValueError):
    """Rows that cannot be answered: an image for an adapter of text alone, or none for one that reads images."""


@dataclass(frozen=True)
class Row:
    """place: where its answer goes. source: the text in its adapter's prompt format, cut to max_source_length. context:
    its characters that are cut first, None for its end. meanings: what an answer stands for, where it is not its own
    meaning. Rows of equal `max_source_length` and `decoding` share a batch, whatever their adapters."""

    place: int
    source: str
    picture: Picture | None
    adapter: str
    max_source_length: int
    decoding: Decoding
    context: tuple[int, int] | None = None
    meanings: Mapping[str, str] = field(default_factory=dict)


def plan_rows(
    task: str,
    images: Sequence[Picture | None] | None,
    questions: Sequence[str] | None,
    adapter_names: Sequence[str] | None,
    adapters: NamedAdapters,
) -> list[Row]:
    """One row per question, or per image where there is no question. Raises: WrongRows, WrongTask, UnknownAdapter."""
    names = _names({"images": images, "questions": questions}, adapter_names, adapters)
    rows = []
    for place, name in enumerate(names):
        picture = None if images is None else images[place]
        question = "" if questions is None else questions[place]
        facts = _task_facts(name, _VERBS[task], adapters)
        replace(TASKS[task], template=facts["template"])  # refuses one with other fields than the task fills
        _check_picture(place, name, picture, adapters)
        decoding = Decoding(facts["max_target_length"], facts["num_beams"])
        source = facts["template"].format(question=question.strip())
        rows.append(Row(place, source, picture, name, facts["max_source_length"], decoding))
    return rows


def plan_texts(
    texts: Sequence[Text], adapter_names: Sequence[str] | None, adapters: NamedAdapters, *, classify: bool
) -> list[Row]:
    """One row per text, for adapters of text tasks: with labels to choose among (`classify`), or with free answers.

    Raises: WrongRows, WrongTask, UnknownAdapter.
    """
    rows = []
    for place, name in enumerate(_names({"texts": texts}, adapter_names, adapters)):
        facts = _task_facts(name, "classify" if classify else "generate", adapters)
        source, context = _fill(place, facts, texts[place])
        labels = facts["labels"] if classify else {}
        decoding = Decoding(facts["max_target_length"], facts["num_beams"], tuple(labels))
        rows.append(Row(place, source, None, name, facts["max_source_length"], decoding, context, labels))
    return rows


def _names(
    given: Mapping[str, Sequence[Any] | None], adapter_names: Sequence[str] | None, adapters: NamedAdapters
) -> Sequence[str]:
    """The adapter of each row. Raises: WrongRows for what is no list, or lists of several lengths."""
    for what, each in {**given, "adapter_names": adapter_names}.items():
        if not isinstance(each, list | tuple | None):
            raise WrongRows(f"{what}: wanted a list, one entry a row, given one {type(each).__name__}: put it in []")
    lengths = {what: len(each) for what, each in given.items() if each is not None}
    count = next(iter(lengths.values()), 0)
    names = [adapters.answering] * count if adapter_names is None else adapter_names
    lengths["adapter_names"] = len(names)
    if len(set(lengths.values())) != 1:
        raise WrongRows(f"wanted lists of one length, given {lengths}")
    return names


def _task_facts(name: str, verb: str, adapters: NamedAdapters) -> Mapping[str, Any]:
    """The task that the adapter's config records; the base model takes the active adapter's. Raises: WrongTask."""
    source = adapters.active if name == BASE else name
    facts = None if source is None else adapters.find(source).config["task"]
    does = None if facts is None else _VERBS.get(facts["name"], "generate")
    if verb != does and not (verb == "classify" and does == "generate" and facts["labels"]):
        given = "one whose config records no task" if facts is None else f"one for {facts['name']!r}"
        raise WrongTask(f"{verb}(): wanted an adapter for {_WANTED[verb]}, given {source!r}, {given}")
    return facts


def _fill(place: int, facts: Mapping[str, Any], text: Text) -> tuple[str, tuple[int, int]]:
    """A row as the task made its training texts, under the adapter's protocol and template."""
    task = replace(TASKS[facts["name"]].under(facts["protocol"]), template=facts["template"])
    fields = sorted(template_fields(task.template))
    if isinstance(text, str):
        if len(fields) != 1 or task.fields is not None:
            raise WrongRows(f"row {place}: {task.name} reads {task.template!r}: wanted a mapping, given one string")
        text = {fields[0]: text}
    try:
        return task.fill(text)
    except KeyError as error:
        given = ", ".join(text)
        raise WrongRows(f"row {place}: {task.name}: wanted the field {error.args[0]!r}, given {given}") from error


def _check_picture(place: int, name: str, picture: Picture | None, adapters: NamedAdapters) -> None:
    reads_images = name != BASE and adapters.find(name).projection is not None
    if picture is not None and not reads_images:
        why = "the bare model has no projection" if name == BASE else "it was trained on text alone"
        raise WrongRows(f"row {place}: {name!r} cannot see an image ({why}): wanted None in its place, given one")
    if picture is None and reads_images:
        raise WrongRows(f"row {place}: {name!r} reads an image beside its text: wanted one, given None")
