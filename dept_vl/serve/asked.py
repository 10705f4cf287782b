"""Rows as a caller of the engine gives them, and what the model takes in their place."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

from dept_vl.serve.adapted import AdaptedModel
from dept_vl.serve.named import NamedAdapters
from dept_vl.serve.pictures import in_row
from dept_vl.serve.rows import Row, Text, plan_rows, plan_texts

Kind = Literal["answer", "caption", "classify", "generate"]


@dataclasses.dataclass(frozen=True)
class Asked:
    """One row. adapter None: the active one. image: a `Picture`. question: of `answer`. text: of `classify` and
    `generate`."""

    adapter: str | None = None
    image: Any = None
    question: str = ""
    text: Text | None = None


def plan(kind: Kind, rows: Sequence[Asked], adapters: NamedAdapters) -> list[Row]:
    """Raises: WrongRows, WrongTask, UnknownAdapter; UnsupportedPicture, UnreadableImage."""
    names = [row.adapter if row.adapter is not None else adapters.answering for row in rows]
    images = [row.image for row in rows]
    if kind == "answer":
        return plan_rows("vqa", images, [row.question for row in rows], names, adapters)
    if kind == "caption":
        return plan_rows("caption", images, None, names, adapters)
    return plan_texts([row.text for row in rows], names, adapters, classify=kind == "classify")


def decoded(place: int, row: Asked, model: AdaptedModel) -> Asked:
    """The row with its picture's pixels, so that the model's thread never waits for them and a broken picture is found
    at once. place: the row's own, for errors. Raises: UnreadableImage, UnsupportedPicture, WrongRows."""
    if row.image is None:
        return row
    with in_row(place):
        return dataclasses.replace(row, image=model.preprocess(row.image))


def with_sizes(row: Row, num_beams: int | None, max_new_tokens: int | None) -> Row:
    """The row with these in place of what its adapter records; None leaves it."""
    given = {"num_beams": num_beams, "max_new_tokens": max_new_tokens}
    given = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(row, decoding=dataclasses.replace(row.decoding, **given)) if given else row
