"""docs/reproduction.md and one HTML page: each claim beside what we measured, with its verdict and the figures."""

import base64
import itertools
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from dept_vl.plans.claims import FAILS, HOLDS, OPEN, Judged, judge, number
from dept_vl.plans.figures import file_name
from dept_vl.plans.schema import PlanFile
from dept_vl.plans.table import Table, values
from dept_vl.untrusted.whole_files import write_files_whole

PAPERS = {
    "dept": "DePT (Shi and Lipani, ICLR 2024)",
    "dpt": "DPT (Xiao et al., Findings of EMNLP 2023)",
    "fpt": "FPT (Huang et al., Findings of EMNLP 2022)",
    "ours": "Ablations that no paper has",
}


@dataclass(frozen=True)
class Score:
    """A row of a plan's table: mean and standard deviation over repeats."""

    cell: str
    task: str
    mean: str
    sd: str
    runs: int
    weights: str
    seconds: str


@dataclass(frozen=True)
class Section:
    """What the page says of a plan. figures: (title, file name without its ending)."""

    plan: PlanFile
    judged: tuple[Judged, ...]
    scores: tuple[Score, ...]
    figures: tuple[tuple[str, str], ...]
    finished: int
    wanted: int

    @property
    def where(self) -> str:
        """ "figures 3, 4": what of the paper it shows."""
        return ", ".join(self.plan.shows)


def make_section(table: Table, drawn: Sequence[str]) -> Section:
    named = [(plot.title, file_name(table.plan, plot)) for plot in table.plan.plots]
    return Section(
        table.plan,
        tuple(judge(table, claim) for claim in table.plan.claims),
        tuple(_scores(table)),
        tuple((title, name) for title, name in named if name in drawn),
        len(table.outcomes),
        len(table.wanted),
    )


def _scores(table: Table) -> list[Score]:
    rows = []
    for cell in table.plan.cells:
        for task in cell.tasks:
            found = list(values(table, "score", [cell.name], tasks=[task]).values())
            if found:
                sd = f"{statistics.stdev(found):.1f}" if len(found) > 1 else "-"
                mean, weights, seconds = (
                    statistics.fmean(values(table, measure, [cell.name], tasks=[task]).values())
                    for measure in ("score", "weights", "train_seconds")
                )
                rows.append(
                    Score(
                        table.shown(cell.name, task),
                        task,
                        f"{mean:.1f}",
                        sd,
                        len(found),
                        f"{weights:,.0f}",
                        number(seconds),
                    )
                )
    return rows


def write_page(
    sections: Sequence[Section], folder: Path, figures: Path, *, missing: Mapping[str, Any], fast: bool
) -> None:
    """reproduction.md and reproduction.html into `folder`; `figures` holds the pictures, below `folder`.

    missing: what cannot be done here, by headline.
    """
    papers = [
        (PAPERS[paper], list(group))
        for paper, group in itertools.groupby(sorted(sections, key=_order), key=lambda each: each.plan.paper)
    ]
    facts = {
        "papers": papers,
        "counts": Counter(each.verdict for section in sections for each in section.judged),
        "verdicts": (HOLDS, FAILS, OPEN),
        "finished": sum(section.finished for section in sections),
        "wanted": sum(section.wanted for section in sections),
        "missing": missing,
        "fast": fast,
        "pictures": figures.relative_to(folder).as_posix(),
    }
    uris = {name: _data_uri(figures / f"{name}.png") for section in sections for _, name in section.figures}
    plain = Environment(
        loader=PackageLoader("dept_vl.plans"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    plain.filters["cell"] = lambda text: " ".join(str(text).split()).replace("|", "\\|")
    html = Environment(
        loader=PackageLoader("dept_vl.plans"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages = {
        "reproduction.md": plain.get_template("reproduction.md.j2").render(**facts),
        "reproduction.html": html.get_template("reproduction.html.j2").render(**facts, uris=uris),
    }
    write_files_whole(folder, {name: text.rstrip().encode() + b"\n" for name, text in pages.items()})


def _order(section: Section) -> tuple[int, str]:
    return list(PAPERS).index(section.plan.paper), section.plan.name


def _data_uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
