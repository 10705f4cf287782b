"""A text task's examples from its official files, from a hub download, or from the hub itself.

    published split -> rows -> unfold -> the split's choice -> expand -> read -> few-shot draw -> limit

data/README.md draws the layout.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from dept_vl.data.data_root import MissingFile, check_root, one_copy
from dept_vl.data.few_shot import FewShot
from dept_vl.data.sources import EmptySplit, Loaded
from dept_vl.data.text_files import read_rows
from dept_vl.data.text_splits import ROLES, BadSplit, published_split, split_rows
from dept_vl.tasks.example import Example
from dept_vl.tasks.source import Row, Source
from dept_vl.tasks.text_task import BadRow, TextTask, row_named
from dept_vl.untrusted.bad_file import BadFile, reason_of

HUB = "hub"  # the root that asks the hub
FAMILIES = ("glue", "superglue", "mrqa")  # folders of a data root in which a set's own folder may lie
HUB_FOLDERS = ("data", "plain_text")  # where the hub keeps the parquet files of a set without configurations


class HubError(MissingFile):
    """A set that could not be loaded from the hub or its cache."""


class WrongSizes(ValueError):
    """A split of a whole set with another number of examples than published."""


def load_text(
    root: Path | str, split: str, task: TextTask, limit: int | None = None, few_shot: FewShot | None = None
) -> Loaded:
    """The examples of train, val or test. An id such as "validation-17" names the published split and the row, from 0.

    root: a data root, or "hub". limit: stop after so many examples (None: all of them); a few-shot draw does not depend
    on it. counts: read (rows of the published split), in_split (examples of the split, the number a whole evaluation
    covers), dropped_no_answer, dropped_short_lines where there were any, few_shot_val where val was drawn, examples,
    images (0).
    Raises: MissingFile, HubError, BadFile, BadRow, BadSplit, BadFewShot, WrongSizes, EmptySplit.
    """
    published = published_split(task.splits, split)
    if limit is not None and limit < 1:
        raise ValueError(f"limit: wanted at least 1 or None for everything, given {limit}")
    where, rows, counts = _published_rows(root, task, published)
    try:
        together = task.splits.together
        numbers = split_rows(task.splits, split, len(rows), [together(row) for row in rows] if together else None)
    except (KeyError, TypeError) as error:
        raise BadRow(
            f"{where}: {task.name}: wanted the field {error} in every row, which keeps the rows of a passage in one "
            "split, given a row without it"
        ) from error
    except BadSplit as error:
        raise BadSplit(f"{where}: {task.name}: {error}") from error
    try:
        keep = task.splits.trained if split == "train" else None
        chosen = [each for number in numbers for each in _made_of(task, f"{published}-{number}", rows[number], keep)]
        if len(rows) == task.source.whole.get(published):
            _check_size(task, split, len(chosen))
        drawn = few_shot is not None and few_shot.draws(split)
        examples, dropped = _read(task, chosen, None if drawn else limit)
    except BadRow as error:
        raise BadRow(f"{where}: {error}") from error
    counts = {**counts, "in_split": len(chosen), "dropped_no_answer": dropped}
    if drawn:
        examples = few_shot.choose(split, task, examples)
        if split == "val":
            counts["few_shot_val"] = len(examples)
        examples = examples[:limit]
    if not examples:
        raise EmptySplit(f"{where}: wanted at least one example in split {split!r}, given none (counts: {counts})")
    return Loaded(examples, {**counts, "examples": len(examples), "images": 0}, {})


def _read(task: TextTask, rows: Sequence[tuple[str, Row]], limit: int | None) -> tuple[list[Example], int]:
    """Up to `limit` examples, and how many rows before the last one had no usable answer."""
    examples, dropped = [], 0
    for name, row in rows:
        if len(examples) == limit:
            break
        example = task.read({**row, "id": name})
        if example is None:
            dropped += 1
        else:
            examples.append(example)
    return examples, dropped


def _made_of(task: TextTask, name: str, row: Row, keep: Callable[[Row], bool] | None) -> Sequence[tuple[str, Row]]:
    """What the split and the protocol make of a row: nothing, itself or several, each with its id."""
    if keep is None and task.expand is None:
        return [(name, row)]
    row = {column: value for column, value in row.items() if value is not None} | {"id": name}
    with row_named(task.name, name, row):
        rows = task.rows(row) if keep is None or keep(row) else ()
    return [(f"{name}-{number}" if len(rows) > 1 else name, each) for number, each in enumerate(rows)]


def _check_size(task: TextTask, split: str, given: int) -> None:
    if task.splits.sizes is None:
        return
    wanted = task.splits.sizes[ROLES.index(split)]
    if given != wanted:
        raise WrongSizes(
            f"{task.name}: wanted {wanted:,} examples in {split} of the whole set under {task.protocol}, "
            f"given {given:,}: the files hold other rows than the published ones; fetch them again from "
            f"{task.source.home}, or use --task.protocol official_dev"
        )


def _published_rows(root: Path | str, task: TextTask, published: str) -> tuple[str, list[Row], dict[str, int]]:
    """Where the rows of a published split stood, the rows with the hub's fields, and their counts."""
    source = task.source
    dropped = 0
    if str(root) == HUB:
        where, records = f"the hub's {source.hub}", _fetch(task, published)
    else:
        paths, columns = _find(Path(root), task, published)
        where = str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
        files = [read_rows(path, columns) for path in paths]
        records = [row for file in files for row in file.rows]
        short = sum(file.short for file in files)
        # The official QQP file has short lines, and its published size is without them; elsewhere they mean a cut.
        if short and len(records) != source.whole.get(published):
            raise next(file.first_short for file in files if file.first_short)
        dropped = short
    rows = records if source.unfold is None else list(_unfolded(source, records, where))
    counts = {"read": len(rows)}
    return where, rows, {**counts, "dropped_short_lines": dropped} if dropped else counts


def _unfolded(source: Source, records: Sequence[Row], where: str) -> Iterator[Row]:
    for number, record in enumerate(records, 1):
        try:
            yield from source.unfold(record)
        except BadRow as error:
            raise BadRow(f"{where}: record {number:,}: {error}") from error
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            given = f"{type(error).__name__}: {error}, with {', '.join(map(str, record))}"
            raise BadFile(where, f"record {number:,} in the set's official form", given) from error


def _find(root: Path, task: TextTask, published: str) -> tuple[list[Path], tuple[str, ...]]:
    """The files of a published split and their columns: the first alternative that is there, then parquet."""
    check_root(root)
    source = task.source
    bases = [root, *(root / family for family in (*FAMILIES, task.name))]
    folders = [*(base / folder for base in bases for folder in source.folders), *bases]
    alternatives = source.files.get(published, ())
    partial: list[str] = []
    for alternative in alternatives:
        for folder in folders:
            paths = [one_copy(folder / name) for name in alternative.names]
            if None not in paths:
                return paths, alternative.columns
            partial.extend(str(path) for path in paths if path)
    for folder in _parquet_folders(bases, source):
        for pattern in (f"{published}-*.parquet", f"{published}.parquet", f"{published}/*.parquet"):
            if shards := sorted(folder.glob(pattern)):
                return all_shards(shards), ()
    searched = (" with ".join(name.removesuffix(".gz") for name in alternative.names) for alternative in alternatives)
    names = [*dict.fromkeys(searched), f"{published}-*.parquet"]
    folder = root / source.folders[0] if source.folders else root
    fetch = f", or --task.root {HUB} to fetch {source.hub}" if source.hub else ""
    raise MissingFile(
        f"{task.name}: wanted its split {published!r} as {', or '.join(names)}, each also as .gz, for instance "
        f"{folder / names[0]}; given {'only ' + ', '.join(partial) if partial else 'none'} below {root}. "
        f"It comes from {source.home}{fetch}; see data/README.md"
    )


def _parquet_folders(bases: list[Path], source: Source) -> list[Path]:
    """Where a hub download may have put a set: its repository's folders, below that name or not."""
    inside = Path(source.subset or ".")
    repository = Path(source.hub.rpartition("/")[2]) if source.hub else Path()
    below = [repository / inside, *(repository / each for each in HUB_FOLDERS), repository]
    below += [inside, *map(Path, HUB_FOLDERS), Path()]
    return [base / each for base in bases for each in dict.fromkeys(below)]


def all_shards(shards: list[Path]) -> list[Path]:
    """Checked against the `-of-00003` in their names."""
    for shard in shards:
        if (match := re.search(r"-of-(\d+)", shard.name)) and int(match[1]) != len(shards):
            raise BadFile(shard, f"{int(match[1])} shards beside each other", f"{len(shards)}")
    return shards


def _fetch(task: TextTask, published: str) -> list[Row]:
    source = task.source
    folder = f"<root>/{source.folders[0]}" if source.folders else "<root>"
    files = f"its official files in {folder}, with --task.root <root>, need no hub; they come from {source.home}"
    if source.hub is None:
        raise HubError(f"{task.name}: wanted a set that the hub has, given one that it has not; {files}")
    import datasets  # here, since it takes a second to import and only this needs it

    try:
        return list(datasets.load_dataset(source.hub, source.subset, split=published))
    except Exception as error:  # of the network, the file system, the hub's client, arrow and `datasets` itself
        name = source.hub if source.subset is None else f"{source.hub} ({source.subset})"
        raise HubError(
            f"{task.name}: wanted split {published!r} of {name} from the hub, given {type(error).__name__}: "
            f"{reason_of(error)}. It needs the network, or the set in the cache and "
            f"HF_HUB_OFFLINE=1; {files}"
        ) from error
