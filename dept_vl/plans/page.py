"""docs/reproduction.md and one HTML page: each claim beside what we measured, with its verdict and the figures."""

import base64
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from dept_vl.config import Experiment
from dept_vl.plans.claims import VERDICTS, Judged, number
from dept_vl.plans.figures import file_name
from dept_vl.plans.schema import Cell, PlanFile
from dept_vl.plans.settings import flat
from dept_vl.plans.significance import LEVEL, repeats_needed
from dept_vl.plans.spread import spread
from dept_vl.plans.table import Table, values
from dept_vl.plans.verdicts import Verdicts, families, tally
from dept_vl.tasks import TASKS
from dept_vl.untrusted.whole_files import write_files_whole

PAPERS = {
    "dept": "DePT (Shi and Lipani, ICLR 2024)",
    "dpt": "DPT (Xiao et al., Findings of EMNLP 2023)",
    "fpt": "FPT (Huang et al., Findings of EMNLP 2022)",
    "ours": "Ablations that no paper has",
}


@dataclass(frozen=True)
class Score:
    """A row of a plan's table: a setting on a task, all single test scores x 100, and how they were made."""

    cell: str
    task: str
    mean: str
    interval: str
    sd: str
    runs: int
    singles: str
    steps: str
    batch: int
    rates: str
    rows: str
    weights: str
    seconds: str


@dataclass(frozen=True)
class Section:
    """What the page says of a plan. figures: (title, file name without its ending). stored: whether some
    run folders are gone, so that their numbers are the single values of an earlier page."""

    plan: PlanFile
    judged: tuple[Judged, ...]
    scores: tuple[Score, ...]
    figures: tuple[tuple[str, str], ...]
    finished: int
    wanted: int
    stored: bool

    @property
    def where(self) -> str:
        """ "figures 3, 4": what of the paper it shows."""
        return ", ".join(self.plan.shows)

    @property
    def power(self) -> str:
        """How many seeds a difference takes, and how many were affordable; "" where the plan does not say."""
        planned = self.plan.planned
        if planned is None:
            return ""
        numbers = sorted({len(cell.seeds) * len(cell.draws) for cell in self.plan.compared()})
        alone, corrected = planned.seeds, ""
        for size in sorted({each.family for each in self.judged if each.family > 1}):
            among = repeats_needed(planned.sd, planned.difference, LEVEL / size)
            corrected += f", {among} for the first of {size} claims that are corrected together"
        return (
            f"Over repeats alone, with these test items, a difference of {planned.difference:g} points takes {alone} "
            f"repeats to be seen with a chance of 80 % in one claim alone{corrected}, if paired differences have a "
            f"standard deviation of {planned.sd:g} points as in three earlier repeats. Planned, as what is affordable, "
            f"are {' and '.join(map(str, numbers))}."
        )


def make_section(table: Table, drawn: Sequence[str], judged: Sequence[Judged]) -> Section:
    named = [(plot.title, file_name(table.plan, plot)) for plot in table.plan.plots]
    return Section(
        table.plan,
        tuple(judged),
        tuple(_scores(table)),
        tuple((title, name) for title, name in named if name in drawn),
        table.finished,
        len(table.wanted),
        table.stored is not None,
    )


def _scores(table: Table) -> list[Score]:
    return [
        row
        for cell in table.plan.cells
        for task in cell.tasks
        if (row := _score(table, cell, task, values(table, "score", [cell.name], tasks=[task]))) is not None
    ]


def _score(table: Table, cell: Cell, task: str, found: Mapping[Any, float]) -> Score | None:
    if not found:
        return None
    facts = spread(list(found.values()))

    def mean(measure: str) -> float | None:
        there = list(values(table, measure, [cell.name], tasks=[task]).values())
        return sum(there) / len(there) if there else None

    steps, rows, weights = (mean(each) for each in ("steps", "test_rows", "weights"))
    return Score(
        cell=table.shown(cell.name, task),
        task=task,
        mean=f"{facts.mean:.1f}",
        interval="-" if facts.interval is None else f"{facts.interval[0]:.1f} to {facts.interval[1]:.1f}",
        sd="-" if facts.sd is None else f"{facts.sd:.1f}",
        runs=len(found),
        singles=", ".join(f"{value:.1f}" for value in found.values()),
        steps=f"{cell.settings.get('max_steps', Experiment().max_steps) if steps is None else steps:,.0f}",
        batch=batch_of(cell),
        rates=rates_of(cell, task),
        rows="-" if rows is None else f"{rows:,.0f}",
        weights="-" if weights is None else f"{weights:,.0f}",
        seconds=number(mean("train_seconds")),
    )


def rates_of(cell: Cell, task: str) -> str:
    """ "prompt 2, low_rank 0.005": the rates, the projection's where images are read; "-" of a frozen model."""
    if cell.settings.get("max_steps") == 0:
        return "-"
    rates = flat(cell.settings.get("optim", {}).get("lr", {}))
    visual = task in TASKS and TASKS[task].visual
    shown = {name: "left to the model" if rate is None else f"{rate:g}" for name, rate in rates.items()}
    return ", ".join(f"{name} {rate}" for name, rate in shown.items() if visual or name != "projection")


def batch_of(cell: Cell) -> int:
    """Rows of an optimizer step on one device."""
    names = ("per_device_train_batch_size", "gradient_accumulation_steps")
    return math.prod(int(cell.settings.get(name, getattr(Experiment(), name))) for name in names)


def write_page(
    sections: Sequence[Section],
    folder: Path,
    figures: Path,
    *,
    verdicts: Verdicts,
    missing: Mapping[str, Any],
    fast: bool,
) -> None:
    """reproduction.md and reproduction.html into `folder`; `figures` holds the pictures, below `folder`.

    verdicts: of all claims. missing: what cannot be done here, by headline.
    """
    plans = [section.plan for section in sections]
    papers = [
        (PAPERS[paper], list(group))
        for paper, group in itertools.groupby(sorted(sections, key=_order), key=lambda each: each.plan.paper)
    ]
    facts = {
        "papers": papers,
        "tally": tally(plans, verdicts),
        "families": {
            PAPERS[name].partition(" (")[0] if name != "ours" else "our own questions": size
            for name, size in families(plans, verdicts).items()
        },
        "verdicts": VERDICTS,
        "level": f"{100 * LEVEL:g} %",
        "finished": sum(section.finished for section in sections),
        "wanted": sum(section.wanted for section in sections),
        "stored": sum(section.stored for section in sections),
        "missing": missing,
        "fast": fast,
        "pictures": figures.relative_to(folder).as_posix(),
    }
    uris = {name: data_uri(figures / f"{name}.png") for section in sections for _, name in section.figures}
    write_pages(folder, "reproduction", facts, uris)


def _order(section: Section) -> tuple[int, str]:
    return list(PAPERS).index(section.plan.paper), section.plan.name


def write_pages(folder: Path, name: str, facts: Mapping[str, Any], uris: Mapping[str, str]) -> None:
    """Write NAME.md and NAME.html by the templates of that name; `uris` are the pictures that the second holds itself.
    Raises: OSError on a full disk, with older pages kept."""
    made = {
        f"{name}.md": _templates(escaped=False).get_template(f"{name}.md.j2").render(**facts),
        f"{name}.html": _templates(escaped=True).get_template(f"{name}.html.j2").render(**facts, uris=uris),
    }
    write_files_whole(folder, {file: text.rstrip().encode() + b"\n" for file, text in made.items()})


def _templates(*, escaped: bool) -> Environment:
    made = Environment(
        loader=PackageLoader("dept_vl.plans"),
        undefined=StrictUndefined,
        autoescape=escaped,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["cell"] = lambda text: " ".join(str(text).split()).replace("|", "\\|")
    return made


def data_uri(path: Path) -> str:
    """A picture as a page holds it in itself."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
