"""What is asked, row by row, checked before any model runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dept_vl.predict.named import BASE_NAME, NamedAdapters
from dept_vl.predict.pictures import Picture
from dept_vl.tasks import TASKS

_VERBS = {"vqa": "answer", "caption": "caption"}


class WrongTask(ValueError):
    """A question for an adapter that captions, or the reverse, or one whose prompt format is not known."""


class WrongRows(ValueError):
    """Rows that cannot be answered as they stand: a picture where none can be seen, or none where one must be."""


@dataclass(frozen=True)
class Decoding:
    """How an adapter's rows are cut and answered: rows of equal decoding share a batch."""

    max_source_length: int
    max_target_length: int
    num_beams: int


@dataclass(frozen=True)
class Row:
    """place: where its answer goes. source: the text in its adapter's prompt format."""

    place: int
    source: str
    picture: Picture | None
    adapter: str
    decoding: Decoding


def plan_rows(
    task: str,
    images: Sequence[Picture | None] | None,
    questions: Sequence[str] | None,
    adapter_names: Sequence[str] | None,
    adapters: NamedAdapters,
) -> list[Row]:
    """One row per question, or per image where there is no question. Raises: WrongRows, WrongTask, UnknownAdapter."""
    for what, given in (("images", images), ("questions", questions), ("adapter_names", adapter_names)):
        if not isinstance(given, list | tuple | None):
            raise WrongRows(f"{what}: wanted a list, one entry a row, given one {type(given).__name__}: put it in []")
    lengths = {what: len(given) for what, given in (("images", images), ("questions", questions)) if given is not None}
    count = next(iter(lengths.values()), 0)
    names = [adapters.answering] * count if adapter_names is None else adapter_names
    lengths["adapter_names"] = len(names)
    if len(set(lengths.values())) != 1:
        raise WrongRows(f"wanted lists of one length, given {lengths}")
    rows = []
    for place, name in enumerate(names):
        picture = None if images is None else images[place]
        question = "" if questions is None else questions[place]
        facts = _task_facts(name, task, adapters)
        _check_picture(place, name, picture, adapters)
        decoding = Decoding(facts["max_source_length"], facts["max_target_length"], facts["num_beams"])
        source = facts["template"].format(question=question.strip())
        rows.append(Row(place, source, picture, name, decoding))
    return rows


def _task_facts(name: str, task: str, adapters: NamedAdapters) -> Mapping[str, Any]:
    """How this adapter is asked; the base model is asked as the active adapter is."""
    speaker = adapters.active if name == BASE_NAME else name
    facts = None if speaker is None else adapters.find(speaker).config["task"]
    if facts is None or facts["name"] != task:
        given = "one whose config records no task" if facts is None else f"one for {facts['name']!r}"
        raise WrongTask(f"{_VERBS[task]}(): wanted an adapter for {task!r}, given {speaker!r}, {given}")
    TASKS[task](template=facts["template"])  # refuses one with other fields than the task fills
    return facts


def _check_picture(place: int, name: str, picture: Picture | None, adapters: NamedAdapters) -> None:
    sees = name != BASE_NAME and adapters.find(name).projection is not None
    if picture is not None and not sees:
        why = "the bare model has no projection" if name == BASE_NAME else "it was trained on text alone"
        raise WrongRows(f"row {place}: {name!r} cannot see an image ({why}): wanted None in its place, given one")
    if picture is None and sees:
        raise WrongRows(f"row {place}: {name!r} reads an image beside its text: wanted one, given None")
