"""Requests as rows, checked before any model runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from dept_vl.model import BASE
from dept_vl.registry import did_you_mean
from dept_vl.serve.named import NamedAdapters
from dept_vl.serve.pictures import Picture, check_picture, in_row
from dept_vl.tasks import TASKS
from dept_vl.tasks.example import template_fields
from dept_vl.tasks.text_task import BadRow, TextTask, render
from dept_vl.train.evaluate import Decoding
from dept_vl.tuning import Tuning

_VERBS = {"vqa": "answer", "caption": "caption"}  # of other tasks "generate", and "classify" where they have labels
_WANTED = {"answer": "'vqa'", "caption": "'caption'", "generate": "a text task", "classify": "a text task with labels"}
Text = str | Mapping[str, Any]
"""A row of a text task with the hub's fields, no label needed; or a string, where the template has one field."""


class WrongTask(ValueError):
    """A question for an adapter that captions, or the reverse, or one whose prompt format is not known."""


class WrongRows(ValueError):
    """Rows that cannot be answered: an image for an adapter of text alone, or none for one that reads images."""


class WrongRow(WrongRows):
    """One row that cannot be answered. place: in its list. of: the task or list that it is a row of."""

    def __init__(self, place: int, of: str, wanted: str, given: str) -> None:
        super().__init__(place, of, wanted, given)
        self.place, self.of, self.wanted, self.given = place, of, wanted, given

    def __str__(self) -> str:
        return f"row {self.place}: {self.of}: wanted {self.wanted}, given {self.given}"


@dataclass(frozen=True)
class Row:
    """place: where its answer goes. source: the text in its adapter's prompt format, cut to max_source_length. context:
    its characters that are cut first, None for its end. meanings: what an answer stands for, where it is not its own
    meaning. own_cue: whether the text ends in its own cue for a causal model, as those about images do. frame: what
    stands around the text in a chat template, None for that of a single turn. See `together` for the rows that share a
    batch, whatever their adapters."""

    place: int
    source: str
    picture: Picture | None
    adapter: str
    max_source_length: int
    decoding: Decoding
    context: tuple[int, int] | None = None
    meanings: Mapping[str, str] = field(default_factory=dict)
    own_cue: bool = False
    frame: tuple[str, str] | None = None


class Together(NamedTuple):
    """Rows for which all of this is the same may stand in one batch. inside: what their adapters have trained inside
    the frozen model, None for nothing."""

    decoding: Decoding
    max_source_length: int
    own_cue: bool
    inside: Tuning | None


def together(row: Row, adapters: NamedAdapters) -> Together:
    saved = adapters.loaded.get(row.adapter)
    return Together(row.decoding, row.max_source_length, row.own_cue, None if saved is None else saved.inside)


def plan_rows(
    task: str,
    images: Sequence[Any] | None,
    questions: Sequence[Any] | None,
    adapter_names: Sequence[Any] | None,
    adapters: NamedAdapters,
) -> list[Row]:
    """One row per question, or per image where there is no question.

    Raises: WrongRows, WrongTask, UnknownAdapter; UnsupportedPicture, UnreadableImage.
    """
    names = row_names({"images": images, "questions": questions}, adapter_names, adapters)
    rows = []
    for place, name in enumerate(names):
        picture = None if images is None else images[place]
        question = "" if questions is None else questions[place]
        if not isinstance(question, str):
            raise WrongRow(place, "questions", "a text", described(question))
        facts = task_facts(name, _VERBS[task], adapters)
        asked = task_of(facts)
        check_presence(place, name, picture, adapters)
        with in_row(place):
            picture = None if picture is None else check_picture(picture)
        decoding = Decoding(facts["max_target_length"], facts["num_beams"], tuple(facts.get("answers", ())))
        source, context = asked.fill(question.strip())
        rows.append(Row(place, source, picture, name, facts["max_source_length"], decoding, context, own_cue=True))
    return rows


def plan_texts(
    texts: Sequence[Any],
    adapter_names: Sequence[Any] | None,
    adapters: NamedAdapters,
    *,
    classify: bool,
    filled: bool = False,
) -> list[Row]:
    """One row per text, for adapters of text tasks: with labels to choose among (`classify`), or with free answers.

    filled: the texts hold what stands in the template's braces, which of some tasks (WSC's marks) a row has not.

    Raises: WrongRows, WrongTask, UnknownAdapter.
    """
    rows = []
    for place, name in enumerate(row_names({"texts": texts}, adapter_names, adapters)):
        facts = task_facts(name, "classify" if classify else "generate", adapters)
        source, context = _fill(place, facts, texts[place], filled)
        labels = facts["labels"] if classify else {}
        decoding = Decoding(facts["max_target_length"], facts["num_beams"], tuple(labels))
        rows.append(Row(place, source, None, name, facts["max_source_length"], decoding, context, labels))
    return rows


def row_names(
    given: Mapping[str, Sequence[Any] | None], adapter_names: Sequence[Any] | None, adapters: NamedAdapters
) -> Sequence[str]:
    """The adapter of each row. Raises: WrongRows for what is no list, or lists of several lengths."""
    for what, each in {**given, "adapter_names": adapter_names}.items():
        if not isinstance(each, list | tuple | None):
            raise WrongRows(f"{what}: wanted a list, one entry a row, given one {type(each).__name__}: put it in []")
    lengths = {what: len(each) for what, each in given.items() if each is not None}
    count = next(iter(lengths.values()), 0)
    names = [adapters.answering] * count if adapter_names is None else adapter_names
    for place, name in enumerate(names):
        if not isinstance(name, str):
            raise WrongRow(place, "adapter_names", "a name", described(name))
    lengths["adapter_names"] = len(names)
    if len(set(lengths.values())) != 1:
        raise WrongRows(f"wanted lists of one length, given {lengths}")
    return names


def task_facts(name: str, verb: str, adapters: NamedAdapters) -> Mapping[str, Any]:
    """The task that the adapter's config records; the base model takes the active adapter's. Raises: WrongTask."""
    source = adapters.active if name == BASE else name
    if source is None:
        raise WrongTask(f"{verb}(): wanted a loaded adapter, given none: none is loaded")
    facts = adapters.find(source).config["task"]
    does = None if facts is None else _VERBS.get(facts["name"], "generate")
    if verb != does and not (verb == "classify" and does == "generate" and facts["labels"]):
        given = "one whose config records no task" if facts is None else f"one for {facts['name']!r}"
        raise WrongTask(f"{verb}(): wanted an adapter for {_WANTED[verb]}, given {source!r}, {given}")
    return facts


def task_of(facts: Mapping[str, Any]) -> Any:
    """The task that an adapter's config records, under its protocol and with its template. Raises: ValueError for a
    template with other fields than the task fills; UnknownName for what is not registered here."""
    task = TASKS[facts["name"]]
    task = task.under(facts["protocol"]) if isinstance(task, TextTask) else task
    return replace(task, template=facts["template"])


def _fill(place: int, facts: Mapping[str, Any], text: Any, filled: bool) -> tuple[str, tuple[int, int] | None]:
    """A row as the task made its training texts, under the adapter's protocol and template."""
    task = task_of(facts)
    task = replace(task, fields=None) if filled else task
    fields = sorted(template_fields(task.template))
    if isinstance(text, str):
        if len(fields) != 1 or task.fields is not None:
            raise WrongRow(place, task.name, f"a mapping, as it reads {task.template!r}", "one string")
        text = {fields[0]: text}
    if not isinstance(text, Mapping):
        raise WrongRow(place, task.name, f"a mapping with {', '.join(fields)}, or a text", described(text))
    columns = facts.get("columns", {})  # a file of the user's own may call a field otherwise
    text = {field: text[column] for field, column in columns.items() if column in text} | dict(text)
    try:
        values = task.values({name: value for name, value in text.items() if value is not None})
        for name in fields:
            if not isinstance(values[name], str):
                raise WrongRow(place, task.name, f"a text in the field {name!r}", described(values[name]))
    except KeyError as error:
        raise _missing(place, task, error.args[0], text) from error
    except (TypeError, AttributeError, IndexError, BadRow) as error:
        raise WrongRow(place, task.name, "the set's own form of row", str(error)) from error
    return render(task.template, values, task.context)


def _missing(place: int, task: TextTask, name: str, row: Mapping[str, Any]) -> WrongRow:
    if name in row:
        return WrongRow(place, task.name, f"a text in the field {name!r}", described(row[name]))
    hints = (f" Did you mean {name!r}?" for given in row if did_you_mean(str(given), [name]) or len(row) == 1)
    return WrongRow(place, task.name, f"the field {name!r}", f"{', '.join(map(str, row))}.{next(hints, '')}")


def described(value: Any) -> str:
    return "None (null in JSON)" if value is None else f"{value!r:.40} ({type(value).__name__})"


def check_presence(place: int, name: str, picture: Any, adapters: NamedAdapters) -> None:
    reads_images = name != BASE and adapters.find(name).projection is not None
    if picture is not None and not reads_images:
        why = "the bare model has no projection" if name == BASE else "it was trained on text alone"
        raise WrongRows(f"row {place}: {name!r} cannot see an image ({why}): wanted None in its place, given one")
    if picture is None and reads_images:
        raise WrongRows(f"row {place}: {name!r} reads an image beside its text: wanted one, given None")
