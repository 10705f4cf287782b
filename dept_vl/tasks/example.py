"""One example: what the model is asked, what it may answer, what it is scored against."""

from __future__ import annotations

from dataclasses import dataclass
from string import Formatter


@dataclass(frozen=True, slots=True)
class Example:
    """A row after a task has read it.

    source: the text the model reads. targets, weights: what it may be trained to emit, and the probability
    of drawing each at a visit; they sum to 1. references: what a prediction is scored against. image: the
    image's key in the feature store, its file name, or None for a text task. text: the bare question.
    context: the characters [start, end) of the source that are cut first when it is too long; None: its end.
    group: what scores count together, such as all answers to one question of MultiRC.
    frame: what stands in front of the source and behind it, where that is the last turn of a conversation or has
    demonstrations in front; None: what is usual.
    """

    id: int | str
    source: str
    targets: tuple[str, ...]
    weights: tuple[float, ...]
    references: tuple[str, ...]
    image: str | None = None
    question_type: str | None = None
    answer_type: str | None = None
    text: str = ""
    visits: int = 1  # draws per training epoch
    context: tuple[int, int] | None = None
    group: str | None = None
    frame: tuple[str, str] | None = None


def template_fields(template: str) -> set[str]:
    """The names in the braces of a template. Raises: ValueError for braces that hold more than a name, as a template
    from a stranger may reach into what it is filled with, or ask for a width that fills the memory."""
    try:
        parts = [each for each in Formatter().parse(template) if each[1] is not None]
    except ValueError as error:
        raise ValueError(f"template: wanted paired braces, given {template!r:.200} ({error})") from error
    if any(width or conversion or not str(name).isidentifier() for _, name, width, conversion in parts):
        raise ValueError(f"template: wanted a name alone in each pair of braces, given {template!r:.200}")
    return {str(name) for _, name, _, _ in parts}


def part_warnings(what: str, scored: int, split_size: int | None) -> list[str]:
    """One warning when fewer were scored than the split holds."""
    if split_size is None or scored >= split_size:
        return []
    return [f"scored {scored:,} of the {split_size:,} {what} of the split: not comparable with published numbers"]
