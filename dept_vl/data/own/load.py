"""The splits of a user's own data, or of a published set by its recipe, in the form that the other sources have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from dept_vl.data.data_root import MissingFile, matching_files
from dept_vl.data.own.collect import Row
from dept_vl.data.own.columns import Family
from dept_vl.data.own.divide import divide
from dept_vl.data.own.find import holds_tables
from dept_vl.data.own.read import CACHE, UNDIVIDED, OwnRows, read_own, split_root
from dept_vl.data.own.table import ENDINGS, ending
from dept_vl.data.seeded_split import SHARES
from dept_vl.data.sources import (
    ANNOTATIONS,
    KARPATHY,
    QUESTIONS,
    EmptySplit,
    Loaded,
    Splits,
    check_splits,
    read_examples,
)
from dept_vl.tasks import CaptionTask, VqaTask

_OFFICIAL = {
    "vqa": (KARPATHY, QUESTIONS.format("*"), ANNOTATIONS.format("*")),
    "caption": (KARPATHY, "captions*.json"),
}


def family_of(task: VqaTask | CaptionTask) -> Family:
    return "caption" if isinstance(task, CaptionTask) else "vqa"


def is_own(root: Path | str, family: Family) -> bool:
    """Whether a root is a file, `hub:NAME`, `RECIPE:FOLDER`, or a folder with tables or captioned pictures and without
    the official names of COCO and VQA v2, which win.

    Raises: MissingFile for a file that is not there.
    """
    name, where = split_root(root)
    if name is not None or where.is_file():
        return True
    if not where.is_dir():
        if ending(where) in ENDINGS:
            raise MissingFile(f"{where}: wanted a file of rows, given no such file")
        return False
    official = [path for pattern in _OFFICIAL[family] for path in matching_files(where, pattern)]
    return not any(_is_document(path) for path in official) and holds_tables(where)


def load_own_splits(
    root: Path | str,
    splits: Splits,
    task: VqaTask | CaptionTask,
    *,
    columns: Mapping[str, str] | None = None,
    on_bad_row: Literal["error", "skip"] = "error",
    shares: Sequence[float] = SHARES,
    image_root: Path | None = None,
    cache: Path = CACHE,
    hashes: Path | None = None,
    num_threads: int = 1,
) -> dict[str, Loaded]:
    """As `load_vqa_splits`; see `read_own` and `divide` for the rest. counts has skipped_bad_rows where there were any.

    Raises: EmptySplit, BadShares, and what `read_own` raises.
    """
    check_splits(root, splits)
    found = read_own(
        root, family=family_of(task), columns=columns, on_bad_row=on_bad_row, image_root=image_root, cache=cache
    )
    if list(found.rows) == [UNDIVIDED] and {split for split, _ in splits.values()} == {UNDIVIDED}:
        parts, sizes = dict(found.rows), [f"all {len(found.rows[UNDIVIDED]):,} rows"]  # few may not suffice for splits
    else:
        parts, sizes = divide(found.rows, shares, found.image_paths, UNDIVIDED, hashes, num_threads=num_threads)
    notes = (*found.notes, *(f"{root}: {each}" for each in sizes))
    parts["all"] = _together(parts, "image_id" if family_of(task) == "caption" else "question_id")
    facts = {"columns": dict(columns or {}), "shares": tuple(shares)}
    return {
        role: _loaded(root, split, parts, found, notes, task, limit, facts) for role, (split, limit) in splits.items()
    }


def _together(parts: Mapping[str, list[Row]], id: str) -> list[Row]:
    """The rows of all splits. Where two splits count from the same number, their names stand before the ids."""
    rows = [row for each in parts.values() for row in each]
    if len({row[id] for row in rows}) == len(rows):
        return rows
    return [{**row, id: f"{split}-{row[id]}"} for split, each in parts.items() for row in each]


def _loaded(
    root: Path | str,
    split: str,
    parts: Mapping[str, list[Any]],
    found: OwnRows,
    notes: tuple[str, ...],
    task: VqaTask | CaptionTask,
    limit: int | None,
    facts: Mapping[str, Any],
) -> Loaded:
    if split not in parts:
        there = ", ".join(f"{name} ({len(rows):,})" for name, rows in parts.items() if name != "all")
        raise EmptySplit(f"{root}: wanted rows in split {split!r}, given none; there are {there}")
    counts = {"read": found.read} | ({"skipped_bad_rows": len(found.skipped)} if found.skipped else {})
    examples, counts = read_examples(root, split, list(parts[split]), task, limit, counts)
    image_paths = {example.image: found.image_paths[example.image] for example in examples}
    counts["images"] = len(image_paths)
    return Loaded(examples, counts, image_paths, notes, found.skipped, **facts)


def _is_document(path: Path) -> bool:
    """A gzipped file counts as one: of a plain one the first byte says whether it is an object or a list of rows."""
    with path.open("rb") as file:
        return not file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
