"""Guess which task a user's data are for, by the names of their columns."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from dept_vl.data.data_root import matching_files
from dept_vl.data.own import RECIPES, is_own, split_root
from dept_vl.data.own.columns import USUAL, recognise
from dept_vl.data.own.find import find_tables, hub_tables
from dept_vl.data.own.pictures import SUFFIXES
from dept_vl.data.own.table import OwnTable, read_table
from dept_vl.data.own_columns import plain_name
from dept_vl.data.own_text import split_files
from dept_vl.data.sources import QUESTIONS
from dept_vl.tasks import OWN_TEXT, CaptionTask, VqaTask
from dept_vl.untrusted.bad_file import BadFile

_WEAK = ("file", "path", "url")  # columns that texts have too: what they hold says whether it is a picture


def guess_task(root: Path | str) -> str:
    """own_text, vqa or caption, by the columns of the first table of a file, a folder, `hub:NAME` or `RECIPE:FOLDER`;
    of official files by their names, and caption for a folder without rows.

    Raises: MissingFile, HubError; BadFile for a file that cannot be read.
    """
    name, where = split_root(root)
    if name in RECIPES:
        return RECIPES[name].family
    if name is None and where.is_dir() and not (is_own(where, VqaTask.name) and is_own(where, CaptionTask.name)):
        return VqaTask.name if matching_files(where, QUESTIONS.format("*")) else CaptionTask.name
    table = hub_tables(str(where))[0] if name is not None else _first_table(where)
    _, cells = next(iter(table.rows()))
    columns = [column for column in table.columns if column.lower() not in _WEAK or _is_picture(cells, column)]
    for family in (VqaTask.name, CaptionTask.name):
        with contextlib.suppress(BadFile):
            recognise(columns, family, {}, table.file)
            return family
    known = map(plain_name, columns)
    return OWN_TEXT.name if set(USUAL["image"]).isdisjoint(known) else VqaTask.name


def _first_table(root: Path) -> OwnTable:
    """Raises: MissingFile, BadFile."""
    try:
        return find_tables(root, CaptionTask.name)[0]
    except BadFile:  # own text reads train.csv whatever else lies beside it
        if not root.is_dir():
            raise
        path = split_files(root)[0][1]
        return read_table(path, root=root)


def _is_picture(cells: Mapping[str, object] | BadFile, column: str) -> bool:
    return not isinstance(cells, BadFile) and str(cells.get(column)).lower().endswith(SUFFIXES)
