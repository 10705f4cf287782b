"""Gather what is read into the rows of a family: a question each, or an image with all its captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dept_vl.data.own.bad_rows import BadCell

Row = dict[str, Any]
Id = int | str


class Questions:
    """Rows of question_id, image, question, answers, question_type and answer_type, as `VqaTask.read` takes them."""

    def __init__(self) -> None:
        self._places: dict[tuple[str | None, Id], str] = {}
        self.conversations = self._asked = 0

    def add(
        self,
        split: str | None,
        image: str,
        pairs: Sequence[tuple[str, tuple[str, ...]]],
        id: Id,
        place: str,
        kinds: Mapping[str, str | None],
        *,
        converse: bool,
    ) -> list[Row]:
        """pairs: question and answers; of several, each gets a number behind the id. place: file and line, for an
        error. Raises: BadCell for an id that was there before in the same split."""
        ids = [f"{id}-{turn}" for turn in range(1, len(pairs) + 1)] if len(pairs) > 1 else [id]
        for each in ids:
            if (split, each) in self._places:
                wanted = "each id once (--task.columns.id '' numbers the rows instead)"
                raise BadCell("id", wanted, f"{id!r} again, first in {self._places[split, each]}")
        self._places |= {(split, each): place for each in ids}
        self.conversations += converse
        self._asked += len(pairs) if converse else 0
        return [
            {"question_id": each, "image": image, "question": question, "answers": answers, **kinds}
            for each, (question, answers) in zip(ids, pairs, strict=True)
        ]

    def notes(self) -> list[str]:
        if not self.conversations:
            return []
        return [
            f"{self.conversations:,} conversations are {self._asked:,} questions, each asked without the turns before "
            "it"
        ]


class Captions:
    """Rows of image_id, image and captions, as `CaptionTask.read` takes them. Rows of one image become one."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str | None, str], Row] = {}
        self._image_of: dict[Id, str] = {}
        self._captioned, self._odd = 0, False

    def add(self, split: str | None, image: str, captions: tuple[str, ...], id: Id | None) -> list[Row]:
        """The new row, or none where the captions join an earlier one of the same split."""
        self._captioned += 1
        known = self._rows.get((split, image))
        if id is not None:
            self._odd |= self._image_of.setdefault(id, image) != image or bool(known and known["image_id"] != id)
        if known is not None:
            known["captions"] += captions
            return []
        row = {"image_id": image if id is None else id, "image": image, "captions": captions}
        self._rows[split, image] = row
        return [row]

    def notes(self) -> list[str]:
        """Also gives every image its key as id where the ids of the file are those of captions, or stand for two."""
        told = []
        if self._captioned > len(self._rows):
            told.append(f"{self._captioned:,} rows are the captions of {len(self._rows):,} images")
        if self._odd:
            told.append("images go by their keys: the column of ids has several for an image, or one for several")
            for (_, image), row in self._rows.items():
                row["image_id"] = image
        return told
