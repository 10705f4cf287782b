"""A text task: data plus a few functions. The family files (`glue`, `superglue`, ...) fill it in.

A row has the hub's fields; its class may be given by number, by name or as a truth value. What a protocol changes
stands in the task as data: `protocols["official_dev"]` holds the fields that differ, `task.under(...)` puts them in.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from string import Formatter
from typing import Any, ClassVar, Literal

from dept_vl.metrics.ids import check_ids
from dept_vl.metrics.labels import label_scores
from dept_vl.registry import UnknownName, wanted_one_of
from dept_vl.tasks.example import Example, part_warnings, template_fields
from dept_vl.tasks.source import Row, Source, Splits


class BadRow(ValueError):
    """A row that lacks a field or has a label outside the set; `row_named` puts the task and the row in front."""


@dataclass(frozen=True)
class Answer:
    """targets: what training may emit, drawn with equal weight. references: what a prediction is scored against."""

    targets: tuple[str, ...]
    references: tuple[str, ...]


@dataclass(frozen=True)
class TextTask:
    """One text task under one protocol.

    template: the source text with fields in braces; `context` is the field that is cut first, None for the text's end.
    label_names: classes in the hub's order, () where the answer is no class. label_form: whether targets are the
    classes' numbers or names.
    choices: the strings scored where the answer is neither a class nor free (STS-B's numbers).
    fields: the template's values of a row; None takes the row's own. answers: targets and references of a row; None
    reads its class. expand: the rows that the protocol makes of one; None keeps it. group: what scores count together.
    selecting: the names of the numbers that may choose a checkpoint; the first one is reported. scores: predictions and
    examples, in one order, to those numbers; None for `label_scores` of them. protocols: name to the fields it changes.
    """

    name: str
    source: Source
    splits: Splits
    template: str
    context: str | None
    selecting: tuple[str, ...] = ("accuracy",)
    scores: Callable[[TextTask, Sequence[str], Sequence[Example]], dict[str, float]] | None = None
    protocols: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"as_published": {}, "official_dev": {}})
    label_names: tuple[str, ...] = ()
    label_field: str = "label"
    label_form: Literal["digits", "words"] = "digits"
    choices: tuple[str, ...] = ()
    fields: Callable[[Row], Mapping[str, str]] | None = None
    answers: Callable[[TextTask, Row], Answer] | None = None
    expand: Callable[[Row], Sequence[Row]] | None = None
    group: Callable[[Row], str] | None = None
    max_source_length: int = 256
    max_target_length: int = 10
    protocol: str = "as_published"
    visual: ClassVar[bool] = False
    base: TextTask | None = field(default=None, repr=False, compare=False)  # the task as its family file has it

    def __post_init__(self) -> None:
        if self.protocol not in self.protocols:
            raise UnknownName(f"{self.name}: protocol: {wanted_one_of(self.protocols, self.protocol)}")
        fields = template_fields(self.template)
        if self.context is None and not fields:
            raise ValueError(f"{self.name}: wanted a template with a field in braces, given {self.template!r}")
        if self.context is not None and self.context not in fields:
            raise ValueError(f"{self.name}: wanted a template that uses {{{self.context}}}, given {self.template!r}")

    def under(self, protocol: str) -> TextTask:
        """The task as its family file has it, under another protocol. Raises: UnknownName."""
        base = self.base or self
        return dataclasses.replace(base, protocol=protocol, base=base, **self.protocols.get(protocol, {}))

    @property
    def headline(self) -> str:
        """The name of the reported number."""
        return self.selecting[0]

    @property
    def labels(self) -> tuple[str, ...]:
        """The strings that stand for the classes, in the order of `label_names`."""
        if self.label_form == "words":
            return self.label_names
        return tuple(str(number) for number in range(len(self.label_names)))

    @property
    def candidates(self) -> tuple[str, ...]:
        """The strings that one forward pass chooses among; () where the answer is free."""
        return self.choices or self.labels

    @property
    def label_meanings(self) -> dict[str, str]:
        """What each candidate string means: the class's name, or the string itself where it is a number."""
        return dict(zip(self.candidates, self.label_names or self.candidates, strict=True))

    @property
    def hub(self) -> str | None:
        """The data set's name on the hub."""
        return self.source.hub

    def rows(self, row: Row) -> Sequence[Row]:
        """What the protocol makes of a row: most often the row itself."""
        return [row] if self.expand is None else self.expand(row)

    def values(self, row: Row) -> Mapping[str, Any]:
        """The template's values of a row. Raises: KeyError."""
        return row if self.fields is None else self.fields(row)

    def fill(self, row: Row) -> tuple[str, tuple[int, int] | None]:
        """The source text of a row, and where in it the part stands that is cut first. Raises: KeyError."""
        return render(self.template, self.values(row), self.context)

    def read(self, row: Row) -> Example | None:
        """An example, or None when the row has no usable answer.

        Raises: BadRow.
        """
        name = row.get("id", row.get("idx", ""))
        row = {column: value for column, value in row.items() if value is not None}
        with row_named(self.name, name, row):
            source, context = self.fill(row)
            answer = self._class_of(row) if self.answers is None else self.answers(self, row)
            group = None if self.group is None else self.group(row)
        if not answer.targets:
            return None
        return Example(
            id=name if isinstance(name, int | str) else str(name),
            source=source,
            targets=answer.targets,
            weights=(1 / len(answer.targets),) * len(answer.targets),
            references=answer.references,
            text=source,
            context=context,
            group=group,
        )

    def _class_of(self, row: Row) -> Answer:
        label = self.labels[class_index(self.label_names, row[self.label_field])]
        return Answer((label,), (label,))

    def score(
        self, predictions: Mapping[Any, str], examples: Sequence[Example], *, split_size: int | None = None
    ) -> dict[str, Any]:
        """The task's numbers as fractions, with its protocol, how many outputs are no candidate, and warnings.

        split_size: how many rows the whole split holds, if known.
        """
        check_ids(predictions, {example.id: None for example in examples}, "row")
        ordered = [predictions[example.id] for example in examples]
        warnings = part_warnings("rows", len(examples), split_size)
        if self.candidates and len(ordered) > 1 and len(set(ordered)) == 1:
            warnings.append(f"a constant predictor: all {len(ordered):,} predictions are {ordered[0]!r}")
        valid = set(self.candidates)
        scores = self.scores or label_scores(*self.selecting)
        return {
            **scores(self, ordered, examples),
            "protocol": self.protocol,
            "invalid_outputs": sum(each not in valid for each in ordered) if valid else 0,
            "warnings": warnings,
        }

    def constant_answers(
        self, train: Sequence[Example], val: Sequence[Example], test: Sequence[Example]
    ) -> dict[str, dict[Any, str]]:
        """What the score is read against: the commonest training answer, given to every example."""
        commonest = collections.Counter(example.targets[0] for example in train).most_common(1)[0][0]
        return {"majority": {example.id: commonest for example in test}}


@contextlib.contextmanager
def row_named(task: str, name: object, row: Row) -> Iterator[None]:
    """Errors that a row causes within it become a BadRow that names the task, the row and what it lacks."""
    try:
        yield
    except BadRow as error:
        raise BadRow(f"{task}: row {name!r}: {error}") from error
    except KeyError as error:
        given = ", ".join(map(str, row))
        raise BadRow(f"{task}: row {name!r}: wanted the field {error.args[0]!r}, given {given}") from error
    except (TypeError, AttributeError, IndexError) as error:
        raise BadRow(f"{task}: row {name!r}: wanted the set's own types of value, given {error}") from error


def class_index(names: Sequence[str], given: Any) -> int:
    """The class of a label given as its number, its name or a truth value (False is 0).

    Raises: BadRow for a label outside the set.
    """
    number = {"false": 0, "true": 1}.get(str(given).lower(), given) if len(names) == 2 else given
    if given in names:
        return names.index(given)
    if re.fullmatch(r"[0-9]{1,3}", str(number)) and int(number) < len(names):
        return int(number)
    wanted = ", ".join(f"{place} ({name})" for place, name in enumerate(names))
    raise BadRow(f"label outside the set: wanted one of {wanted}, given {given!r:.80}")


def render(template: str, values: Mapping[str, Any], context: str | None) -> tuple[str, tuple[int, int] | None]:
    """The template filled in, and where in it the value of `context` stands, None for no context. Raises: KeyError."""
    text, span = "", (0, 0)
    for literal, name, _, _ in Formatter().parse(template):
        text += literal
        if name is not None:
            if values[name] is None:
                raise KeyError(name)
            start = len(text)
            text += str(values[name]).strip()
            span = (start, len(text)) if name == context else span
    return text, None if context is None else span
