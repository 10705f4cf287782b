"""What the papers hold, item by item, and where each stands here: for --list and for the page."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dept_vl.reproduction.files import Block, Row, load_blocks, load_rows
from dept_vl.reproduction.typed import build, read
from dept_vl.studies.files import CONTENTS, BadStudy, Study


@dataclass(frozen=True)
class Item:
    """A figure or table of a paper. name: "figure 5". here: what to know where neither a row nor a study says it."""

    name: str
    what: str
    here: str = ""


@dataclass(frozen=True)
class Contents:
    """items: by paper. missing: what cannot be done here at all, with the reason."""

    items: dict[str, tuple[Item, ...]]
    missing: dict[str, str]


def load_contents(folder: Path) -> Contents:
    """configs/studies/contents.yaml: {papers: {dept: [{name, what, here}, ...]}, missing: {...}}. Raises: BadStudy."""
    path = folder / CONTENTS
    content: dict[str, Any] = read(path)
    if set(content) != {"papers", "missing"} or not all(isinstance(each, dict) for each in content.values()):
        raise BadStudy(f"{path}: wanted the keys papers and missing, given {', '.join(map(str, content))}")
    items = {
        paper: tuple(build(Item, each, f"{path}: {paper}: ") for each in listed)
        for paper, listed in content["papers"].items()
    }
    return Contents(items, content["missing"])


def listing(
    contents: Contents, studies: Iterable[Study], progress: Mapping[str, tuple[int, int]], papers: Path
) -> list[str]:
    """A line for each item of each paper, and for each study that shows none. progress: finished and all runs of each
    study. papers: configs/paper."""
    studies = list(studies)
    lines = []
    for paper, items in contents.items.items():
        lines.append(f"\n{paper}")
        rows, blocks = load_rows(papers, paper), load_blocks(papers, paper)
        for item in items:
            lines.append(f"  {item.name:<10} {item.what}")
            lines += [f"{'':<13}{each}" for each in _status(item, paper, studies, progress, rows, blocks)]
    lines.append("\nablations without a figure or table")
    for study in (each for each in studies if not each.shows):
        lines.append(f"  {study.name:<24} {study.title}: {_told(study, progress)}")
    return lines


def _status(
    item: Item,
    paper: str,
    studies: Iterable[Study],
    progress: Mapping[str, tuple[int, int]],
    rows: Iterable[Row],
    blocks: Iterable[Block],
) -> list[str]:
    found = [
        f"study {each.name}: {_told(each, progress)}"
        for each in studies
        if each.paper == paper and item.name in each.shows
    ]
    kind, _, number = item.name.partition(" ")
    if kind == "table":
        runnable = sorted({row.method for row in rows if row.table == int(number)})
        quoted = [row.method for block in blocks if block.table == int(number) for row in block.rows]
        if runnable:
            found.append(f"with real weights: --paper {paper} --table {number} ({', '.join(runnable)})")
        if quoted:
            found.append(f"quoted only: {len(set(quoted))} other methods")
    return found + ([item.here] if item.here else []) or ["not done"]


def _told(study: Study, progress: Mapping[str, tuple[int, int]]) -> str:
    finished, wanted = progress.get(study.name, (0, 0))
    state = "done" if finished == wanted else "not done" if not finished else "partly done"
    return f"{state}, {finished} of {wanted} results"
