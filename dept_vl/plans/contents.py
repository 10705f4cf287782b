"""What the papers hold, item by item, and where each stands here: for --list and for the page."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dept_vl.adapters import ADAPTERS
from dept_vl.plans.published import load_rows
from dept_vl.plans.quoted import Block, load_blocks
from dept_vl.plans.schema import PlanFile
from dept_vl.plans.settings import BadPlan, build, read
from dept_vl.tuning import TUNINGS


@dataclass(frozen=True)
class Item:
    """A figure or table of a paper. name: "figure 5". here: what to know where neither a row nor a plan says it."""

    name: str
    what: str
    here: str = ""


@dataclass(frozen=True)
class Contents:
    """items: by paper. missing: what cannot be done here at all, with the reason."""

    items: dict[str, tuple[Item, ...]]
    missing: dict[str, str]


def load_contents(path: Path) -> Contents:
    """A file {papers: {dept: [{name, what, here}, ...]}, missing: {...}}. Raises: BadPlan."""
    content = read(path)
    if set(content) != {"papers", "missing"} or not all(isinstance(each, dict) for each in content.values()):
        raise BadPlan(f"{path}: wanted the keys papers and missing, given {', '.join(map(str, content))}")
    items = {
        paper: tuple(build(Item, each, f"{path}: {paper}: ") for each in listed)
        for paper, listed in content["papers"].items()
    }
    return Contents(items, content["missing"])


def recorded(page: Path, plan: PlanFile, wanted: int) -> str:
    """What a page, such as the committed one, holds of a plan: "12 of 12"."""
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    _, heading, rest = text.partition(f"\n### {plan.title}")
    partly = re.search(r"^\*(\d+ of \d+) results are in", rest.partition("\n### ")[0], re.M)
    return partly[1] if partly else f"{wanted if heading else 0} of {wanted}"


def listing(contents: Contents, plans: Iterable[PlanFile], states: Mapping[str, str], papers: Path) -> list[str]:
    """A line for each item of each paper, and for each plan that shows none. states: where each plan stands."""
    plans = list(plans)
    lines = []
    run: set[str] = set()
    for paper, items in contents.items.items():
        lines.append(f"\n{paper}")
        rows, blocks = load_rows(papers, paper), load_blocks(papers, paper)
        run |= {row.method for row in rows}
        for item in items:
            found = [f"plan {each.name}: {states[each.name]}" for each in plans if _shows(each, paper, item)]
            kind, _, number = item.name.partition(" ")
            if kind == "table":
                here = [row for row in rows if row.table == int(number)]
                runnable = ", ".join(sorted({row.method for row in here}))
                if runnable:
                    found.append(f"with real weights: --paper {paper} --table {number} ({runnable})")
                of_table = [block for block in blocks if block.table == int(number)]
                found += [
                    f"quoted only: {'; '.join(names)}: {why}" for why, names in only_quoted(of_table, here).items()
                ]
            found += ([item.here] if item.here else []) or ([] if found else ["not done"])
            lines += [f"  {item.name:<10} {item.what}", *(f"{'':<13}{each}" for each in found)]
    others = sorted({*ADAPTERS, *TUNINGS} - run - {"none"})
    lines.append(
        "\nmethods without a row, to be run by --config configs/adapters/NAME.yaml or configs/inside/NAME.yaml"
    )
    lines.append(f"  {', '.join(others)}")
    lines.append("\nablations without a figure or table")
    lines += [f"  {each.name:<24} {each.title}: {states[each.name]}" for each in plans if not each.shows]
    return lines


def only_quoted(blocks: Iterable[Block], rows: Sequence[PlanFile]) -> dict[str, list[str]]:
    """The printed rows that no plan quotes, by the reason."""
    found: dict[str, list[str]] = {}
    for block in blocks:
        run = {row.quotes for row in rows if row.variant == block.variant}
        for quoted in block.rows:
            names = found.setdefault(quoted.here, []) if quoted.method not in run else []
            if quoted.method not in names:
                names.append(quoted.method)
    return found


def _shows(plan: PlanFile, paper: str, item: Item) -> bool:
    return plan.paper == paper and item.name in plan.shows
