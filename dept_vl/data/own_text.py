"""A user's own text task from any file of rows: its columns found, its rows checked, its splits made.

    reviews.csv                        a column `split` with train, val and test, or else a seeded split
    folder/train.jsonl, val.jsonl      a file for each split; a split without one is held out of train

A row that cannot be used is refused by file, line and column, or under `on_bad_row: skip` left out, counted and listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dept_vl.data.data_root import MissingFile, one_copy
from dept_vl.data.few_shot import FewShot
from dept_vl.data.own.bad_rows import BadCell, BadRows
from dept_vl.data.own.cells import SPLITS, id_of, one_text, split_of
from dept_vl.data.own.table import ENDINGS, ending
from dept_vl.data.own_columns import ID, SPLIT, find_columns
from dept_vl.data.seeded_split import ROLES, SEED, SHARES, WHOLE, TooFewToSplit, check_shares, seeded_split, shared
from dept_vl.data.sources import EmptySplit, Loaded, Splits
from dept_vl.data.text_files import FileRows, read_rows
from dept_vl.registry import did_you_mean, wanted_one_of
from dept_vl.tasks.own_text import TARGET, needed_fields
from dept_vl.tasks.text_task import TextTask
from dept_vl.untrusted.bad_file import BadFile

_SHOWN = 40  # characters of a text that stands on two sides


@dataclass
class OwnText:
    """What a user's files hold.

    rows: of train, val and test, each with `id`, the template's fields and `target`, a tuple of texts. columns: field
    to column, where all files agree. notes: what was understood. skipped: file, place, column and reason of each row
    that was left out.
    """

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    skipped: list[Mapping[str, str | None]] = field(default_factory=list)


def load_own_text(
    root: Path | str,
    splits: Splits,
    task: TextTask,
    *,
    columns: Mapping[str, str] | None = None,
    on_bad_row: Literal["error", "skip"] = "error",
    shares: Sequence[float] = SHARES,
    few_shot: FewShot | None = None,
) -> dict[str, Loaded]:
    """The examples of each role's split: train, val, test, or all rows.

    columns: fields of the template, "target", "id" or "split" to the names of columns. An id is that column's value, or
    "<file>-<number>" with the row's number from 0. shares: of the texts for train, val and test, where the files say no
    splits.

    Raises: MissingFile, BadFile, EmptySplit, BadFewShot.
    """
    whole = {split for split, _ in splits.values()} == {"all"}  # then nothing is drawn: few rows may not suffice
    drawn = WHOLE if whole else shares
    own = read_own_text(root, task, columns=columns, on_bad_row=on_bad_row, shares=drawn)
    parts = {**own.rows, "all": [row for rows in own.rows.values() for row in rows]}
    sizes = ", ".join(f"{name} {len(rows):,} rows" for name, rows in parts.items() if (name == "all") == whole)
    notes = (*own.notes, f"{root}: {sizes}")
    counts = {"read": len(parts["all"]) + len(own.skipped)}
    counts |= {"skipped_bad_rows": len(own.skipped)} if own.skipped else {}
    loaded = {}
    for role, (split, limit) in splits.items():
        if split not in parts:
            raise EmptySplit(f"{root}: task.{role}_split: {wanted_one_of(parts, split)}")
        rows = parts[split]
        few = few_shot is not None and few_shot.draws(split)
        examples = [task.read(row) for row in (rows if few else rows[:limit])]
        if few:
            examples = few_shot.choose(split, task, examples)[:limit]
        if not examples:
            raise EmptySplit(f"{root}: wanted at least one row in split {split!r}, given none ({sizes})")
        own_counts = {**counts, "in_split": len(rows), "examples": len(examples), "images": 0}
        loaded[role] = Loaded(examples, own_counts, {}, notes, tuple(own.skipped), own.columns, tuple(shares))
    return loaded


def read_own_text(
    root: Path | str,
    task: TextTask,
    *,
    columns: Mapping[str, str] | None = None,
    on_bad_row: Literal["error", "skip"] = "error",
    shares: Sequence[float] = SHARES,
) -> OwnText:
    """All rows by side. Raises: MissingFile, BadFile, BadShares."""
    check_shares(shares)
    own, bad = OwnText(), BadRows(on_bad_row)
    own.skipped = bad.skipped
    sides: list[tuple[str | None, dict[str, Any]]] = []
    files, agreed = split_files(Path(root)), []
    for role, path in files:
        refused: list[tuple[int, BadFile]] = []
        found = read_rows(path, refused=refused, quoted=True)
        for number, error in refused:
            bad.add(path, f"line {number:,}", {}, error)
        if not found.rows:
            raise refused[0][1]
        named = _named(path, found, task, columns or {})
        agreed.append({name: named[name] for name in needed_fields(task)})
        read = ", ".join(f"{column!r} is the {name}" for name, column in named.items())
        own.notes.append(f"{path}: {read}")
        ids: set[Any] = set()
        for place in range(len(found.rows)):
            try:
                row = _row(found.rows[place], place, task, named, delimited=ending(path) in (".csv", ".tsv"))
                if row["id"] in ids:
                    raise BadCell(ID, "every id once", f"{row['id']!r} again")
                side = role or (split_of(found.rows[place].get(named[SPLIT])) if SPLIT in named else None)
            except BadCell as error:
                bad.add(path, found.where(place), named, error)
                continue
            ids.add(row["id"])
            row["id"] = f"{path.stem}-{row['id']}" if len(files) > 1 or ID not in named else row["id"]
            sides.append((side, row))
    own.columns = agreed[0] if all(each == agreed[0] for each in agreed) else {}
    if own.skipped:
        first = ", ".join(each for each in own.skipped[0].values() if each)
        own.notes.append(f"{root}: {len(own.skipped):,} rows left out; the first: {first}")
    own.rows = _divided(Path(root), sides, task, shares, own.notes)
    texts = {role: [task.fill(row)[0] for row in rows] for role, rows in own.rows.items()}
    common = shared({role: {text: text[:_SHOWN] for text in each} for role, each in texts.items()}, "texts")
    own.notes += [f"{root}: {each}" for each in common]
    return own


def _named(path: Path, found: FileRows, task: TextTask, given: Mapping[str, str]) -> dict[str, str]:
    """Field to column; an id that nobody named only where it tells the rows apart."""
    columns = list(dict.fromkeys(name for row in found.rows for name in row))
    named = find_columns(path, columns, needed_fields(task), given)
    if ID in named and ID not in given:
        values = [row.get(named[ID]) for row in found.rows]
        if not all(isinstance(each, int | str) and each != "" for each in values) or len(set(values)) < len(values):
            del named[ID]
    return named


def split_files(root: Path) -> list[tuple[str | None, Path]]:
    """The split of each file, None for a file of all. Raises: MissingFile, BadFile."""
    if root.is_file():
        return [(None, root)]
    if not root.is_dir():
        raise MissingFile(f"{root}: wanted your own file, or a folder with one, given no such path")
    found: list[tuple[str | None, Path]] = []
    for role in ROLES:
        names = [name for name, side in SPLITS.items() if side == role]
        paths = [one_copy(root / f"{name}{end}") for name in names for end in ENDINGS]
        paths = [path for path in paths if path]
        if len(paths) > 1:
            given = f"a second one beside {paths[0].name}: put all rows into one, or give the one file as task.root"
            raise BadFile(paths[1], f"one file for {role}", given)
        found += [(role, path) for path in paths]
    if not any(role == "train" for role, _ in found):
        others = [path for path in root.iterdir() if ending(path) in ENDINGS]
        others.sort()
        if found or len(others) != 1:
            wanted = f"train with one of {', '.join(ENDINGS)}, or one file of all rows"
            given = ", ".join(path.name for path in others) or "no file of rows"
            raise MissingFile(f"{root}: wanted {wanted}, given {given:.200}")
        return [(None, others[0])]
    return found


def _row(
    cells: Mapping[str, Any], place: int, task: TextTask, named: Mapping[str, str], *, delimited: bool
) -> dict[str, Any]:
    """Raises: BadCell."""
    row: dict[str, Any] = {"id": id_of(cells.get(named[ID])) if ID in named else place}
    for name in needed_fields(task):
        values = cells.get(named[name])
        several = name == TARGET and isinstance(values, list | tuple) and len(values) > 0
        texts = tuple(_text(value, name, delimited) for value in (values if several else [values]))
        row[name] = texts if name == TARGET else texts[0]
    if task.label_names and (len(row[TARGET]) > 1 or row[TARGET][0] not in task.label_names):
        given = ", ".join(row[TARGET])
        wanted = f"one of task.labels ({', '.join(task.label_names):.200})"
        raise BadCell(TARGET, wanted, f"{given!r:.80}.{did_you_mean(given, task.label_names)}")
    return row


def _text(value: Any, name: str, delimited: bool) -> str:
    return str(value).lower() if isinstance(value, bool) else one_text(value, name, delimited)


def _divided(
    root: Path,
    sides: Iterable[tuple[str | None, dict[str, Any]]],
    task: TextTask,
    shares: Sequence[float],
    notes: list[str],
) -> dict[str, list[dict[str, Any]]]:
    """Rows by side; a side that is not given is drawn from train, of whose rows no text is then on two sides."""
    rows: dict[str, list[dict[str, Any]]] = {role: [] for role in ROLES}
    for role, row in sides:
        rows[role or "train"].append(row)
    wanted = dict(zip(ROLES, shares, strict=True))
    absent = [role for role in ("val", "test") if not rows[role] and wanted[role] > 0]
    if not absent or not rows["train"]:
        return rows
    keys = [task.fill(row)[0] for row in rows["train"]]
    try:
        drawn = seeded_split(keys, {role: wanted[role] for role in ("train", *absent)})
    except TooFewToSplit as error:
        wanted = f"at least {len(absent) + 1} texts that differ, for {', '.join(('train', *absent))}"
        given = f"{len(set(keys))}: add rows, give files named by their split, or score the split all"
        raise BadFile(root, wanted, given) from error
    together, rows["train"] = rows["train"], []
    for role, row in zip(drawn, together, strict=True):
        rows[role].append(row)
    held = " and ".join(f"{role} ({wanted[role]:g})" for role in absent)
    notes.append(f"{root}: {held} of the texts held out of train by seed {SEED}")
    return rows
