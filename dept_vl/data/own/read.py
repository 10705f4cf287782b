"""Read a user's own table of pictures and questions, or of pictures and captions, as plain rows.

`find` says which files belong together, `columns` which column is what, `cells`, `turns`, `options` and `pictures` read
the values, `bad_rows` has what becomes of rows that cannot be used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dept_vl.data.own.bad_rows import BadCell, BadRows
from dept_vl.data.own.cells import described, id_of, is_missing, split_of, text_of, texts_of
from dept_vl.data.own.collect import Captions, Questions, Row
from dept_vl.data.own.columns import Family, recognise
from dept_vl.data.own.find import HUB, find_tables, hub_tables
from dept_vl.data.own.options import choose_among, has_options
from dept_vl.data.own.pictures import Pictures
from dept_vl.data.own.recipes import RECIPES, recipe_tables
from dept_vl.data.own.table import Cells, OwnTable
from dept_vl.data.own.turns import turns_of, without_placeholder
from dept_vl.embedded.packages import packaged
from dept_vl.registry import did_you_mean
from dept_vl.untrusted.bad_file import BadFile, listed

UNDIVIDED = "all"
CACHE = Path("data/own_images")


@dataclass(frozen=True)
class OwnRows:
    """What a user's files hold.

    rows: train, val and test to their rows, or all rows under UNDIVIDED where nothing says their split. Each row is as
    `VqaTask.read` or `CaptionTask.read` takes it. recognised: column to meaning. notes: what to tell the user, a
    sentence each. skipped: file, place, column and reason of each row left out. image_paths: the file of each image.
    read: how many rows the files have, those left out included.
    """

    rows: dict[str, list[Row]]
    recognised: dict[str, str]
    notes: tuple[str, ...]
    skipped: tuple[Mapping[str, str | None], ...]
    image_paths: dict[str, Path]
    read: int


def read_own(
    root: Path | str,
    *,
    family: Family,
    columns: Mapping[str, str] | None = None,
    on_bad_row: Literal["error", "skip"] = "error",
    image_root: Path | None = None,
    cache: Path = CACHE,
) -> OwnRows:
    """The rows of a file, a folder, `hub:NAME` or `RECIPE:FOLDER`.

    columns: meaning (image, question, answers, captions, split, id, turns) to column, where the usual names do not say
    it; an empty name leaves that column unread. on_bad_row: error refuses the first row that cannot be used, skip
    leaves such rows out. image_root: where relative image paths start, before the file's own folder and its images/.
    cache: where pictures that come as bytes or base64 are written.
    Raises: UnusableRow (a BadFile) with file, line and column; BadFile for a file as a whole; MissingFile, HubError.
    """
    name, where = split_root(root)
    if name is None:
        tables = find_tables(where, family, image_root)
    elif name == HUB:
        tables = hub_tables(str(where), image_root)
    else:
        tables = recipe_tables(name, where, family, image_root)
    reader = _Reader(family, columns or {}, BadRows(on_bad_row), Pictures(_root_of(name, where), cache))
    for table in tables:
        reader.read(table)
    return reader.finish(root)


def split_root(root: Path | str) -> tuple[str | None, Path]:
    """The recipe's name (or "hub"), None where there is none, and the file, folder or name behind it.

    Raises: ValueError for a name like a recipe's that is none; MissingPackage.
    """
    name, mark, rest = str(root).partition(":")
    if mark and rest and (name in RECIPES or name == HUB):
        return name, packaged(rest) or Path(rest)
    if mark and not Path(root).exists() and (hint := did_you_mean(name, [*RECIPES, HUB])):
        known = ", ".join([*RECIPES, HUB])
        wanted = f"a file, a folder, or one of {known} and a colon before it"
        raise ValueError(f"task.root: wanted {wanted}, given {str(root)!r}.{hint}")
    return None, Path(root)


def _root_of(name: str | None, where: Path) -> Path:
    if name == HUB:
        return Path()
    return where.parent if where.is_file() else where


class _Reader:
    def __init__(self, family: Family, given: Mapping[str, str], bad: BadRows, pictures: Pictures) -> None:
        self.family, self.given, self.bad, self.pictures = family, given, bad, pictures
        self.questions, self.captions = Questions(), Captions()
        self.rows: dict[str | None, list[Row]] = {}
        self.recognised: dict[str, str] = {}
        self.notes: list[str] = []
        self.files: set[str] = set()
        self.alike: list[str] = []  # files whose columns an earlier one's note has
        self.number = self.systems = 0

    def read(self, table: OwnTable) -> None:
        """The rows of a table. Raises: UnusableRow, BadFile."""
        names = recognise(table.columns, self.family, self.given, table.file)
        self._note_columns(table, names)
        for number, cells in table.rows():
            self.number += 1
            try:
                if isinstance(cells, BadFile):
                    raise cells
                value = {meaning: cells.get(column) for meaning, column in names.items()}
                split = split_of(value["split"]) if "split" in value else table.split
                rows = self._rows_of(table, number, cells, value, split)
            except (BadCell, BadFile) as error:
                self.bad.add(table.file, table.place(number), names, error)
                continue
            self.rows.setdefault(split, []).extend(rows)

    def _rows_of(
        self, table: OwnTable, number: int, cells: Cells, value: Mapping[str, Any], split: str | None
    ) -> list[Row]:
        turns = turns_of(value["turns"]) if "turns" in value else None
        if turns is None:
            pairs = (self._asked(table, cells, value),)
        else:
            pairs = tuple((question, (answer,)) for question, answer in turns.pairs)
            self._check_turns(pairs)
        image = turns.pictures[0] if turns is not None and turns.pictures else value.get("image")
        absent = is_missing(image, delimited=table.delimited)
        key = self.pictures.key(None if absent else image, table.folders)
        id = id_of(value["id"]) if "id" in value else None
        if self.family == "caption":
            rows = self.captions.add(split, key, pairs[0][1], id)
        else:
            place = f"{table.file}, {table.place(number)}"
            id = f"{table.name}-{number}" if id is None else id
            rows = self.questions.add(split, key, pairs, id, place, _kinds(value), converse=turns is not None)
        self.systems += turns.systems if turns is not None else 0
        return rows

    def _asked(self, table: OwnTable, cells: Cells, value: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        """Question ("" for a caption) and answers, or captions, of a plain row."""
        if self.family == "caption":
            return "", texts_of(value["captions"], "captions", delimited=table.delimited)
        question = without_placeholder(text_of(value["question"], "question", delimited=table.delimited))
        if not question:
            raise BadCell("question", "text", described(value["question"]))
        answer = value["answers"]
        if has_options(table.columns) and not isinstance(answer, list):
            question, answer = choose_among(cells, question, answer, delimited=table.delimited)
        return question, texts_of(answer, "answers", delimited=table.delimited)

    def _check_turns(self, pairs: tuple[tuple[str, tuple[str, ...]], ...]) -> None:
        if self.family == "caption" and len(pairs) > 1:
            raise BadCell("turns", "one caption, of one pair of turns", f"{len(pairs)} pairs")
        for place, (question, answers) in enumerate(pairs):
            if not question and self.family == "vqa":
                raise BadCell("turns", "a question beside the picture", f"none in turn {2 * place + 1}")
            if not answers[0]:
                raise BadCell("turns", "an answer", f"an empty one in turn {2 * place + 2}")

    def _note_columns(self, table: OwnTable, names: Mapping[str, str]) -> None:
        recognised = {column: meaning for meaning, column in names.items()}
        if not recognised.items() <= self.recognised.items():
            self.recognised |= recognised
            read = ", ".join(f"{column!r} is the {meaning}" for column, meaning in recognised.items())
            unread = ", ".join(column for column in table.columns if column and column not in recognised)
            self.notes.append(f"{table.file}: {read}{f'; not read: {unread:.200}' if unread else ''}")
            self.files.add(str(table.file))
        elif str(table.file) not in self.files:  # the splits of a hub's or a saved set have one name
            self.files.add(str(table.file))
            self.alike.append(Path(table.file).name)
        self.notes.extend(f"{table.file}: {note}" for note in table.notes)

    def finish(self, root: Path | str) -> OwnRows:
        """Raises: BadFile where no row is left, or only some have a split."""
        skipped = self.bad.skipped
        first = ", ".join(str(each) for each in skipped[0].values() if each) if skipped else "nothing"
        if not any(self.rows.values()):
            given = f"none of {self.number:,}; the first: {first}"
            raise BadFile(str(root), "at least one row that can be used", given)
        if None in self.rows and len(self.rows) > 1:
            wanted = "a split for every row, by its file's name or a column, or for none"
            raise BadFile(str(root), wanted, f"none for {len(self.rows[None]):,} of {self.number:,} rows")
        told = [*self.questions.notes(), *self.captions.notes()]
        if self.systems:
            told.append(f"{self.systems:,} system turns are left out")
        if self.pictures.backslashes:
            told.append(f"{self.pictures.backslashes:,} image paths with \\ are read as with /")
        if skipped:
            told.append(f"{len(skipped):,} of {self.number:,} rows are left out; the first: {first}")
        told += [f"more files with the same columns: {listed(self.alike, show=3)}"] if self.alike else []
        self.notes.extend(f"{root}: {note}" for note in told)
        rows = {UNDIVIDED if split is None else split: each for split, each in self.rows.items()}
        return OwnRows(rows, self.recognised, tuple(self.notes), tuple(skipped), self.pictures.paths, self.number)


def _kinds(value: Mapping[str, Any]) -> dict[str, str | None]:
    """VQA v2's two types, by which its scores are given, where a table has them."""
    kinds = {name: value.get(name) for name in ("question_type", "answer_type")}
    return {name: kind.strip() if isinstance(kind, str) and kind.strip() else None for name, kind in kinds.items()}
