"""What a plan file may say: cells to run, and the views of their scores (a pick, claims, figures, a paper's table)."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dept_vl.plans.settings import Settings

CLAIM_KINDS = ("more", "no_worse", "below", "above", "steadier", "cannot")
ORIGINS = ("paper", "ours")
PLOT_KINDS = ("bars", "line", "scatter", "curves", "heat")
Number = float | int
BEST = "best on validation"
MEASURED = ("score", "costs", "forgetting")
COMPARISON, TRIALS = "comparison", "trials"


def with_k(name: str, k: int | None) -> str:
    """The name of a cell or a mean where a table has several k."""
    return name if k is None else f"{name} k={k}"


@dataclass(frozen=True)
class Needs:
    """The runs that a cell's runs start from. Without a task, a cell for each task of the source; a mixture's run
    counts as one, unless a task of it is named. Seeds: the same seed where the source has it, else its only one."""

    cell: str
    task: str | None = None
    seed: int | None = None


@dataclass(frozen=True)
class Stop:
    """When a run ends: after so many optimizer steps, or after so many seconds of training, evaluation left out."""

    steps: int | None = None
    seconds: Number | None = None


@dataclass(frozen=True)
class Cell:
    """One setting; its runs are tasks x seeds x draws, those of the plan unless it has its own.

    settings: once loaded, all that its runs share. base: files merged behind the plan's. same_as: "plan/cell" whose
    settings these are. sources: the cell from whose runs, one for each of its tasks, these take frozen prompts
    (adapter.start.sources); where they are a mixture's tasks, in its order. measure: score (train and score), costs
    (time and memory, beside the other cells that have it). at: the place on a numeric axis. series: the line, or
    colour, that the point belongs to.

    Of a paper's table: task, its only one; k, of a few-shot table; published: metric to percent, None where the table
    prints only a mean; logged: the same in the authors' logs; items: rows of the test split; sd: the printed deviation.
    """

    name: str = ""
    settings: Settings = field(default_factory=dict)
    base: tuple[str, ...] = ()
    same_as: str | None = None
    needs: Needs | None = None
    sources: Needs | None = None
    stop: Stop | None = None
    measure: tuple[str, ...] = ("score",)
    tasks: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    draws: tuple[int, ...] = ()
    at: Number | None = None
    series: str = ""
    task: str | None = None
    k: int | None = None
    published: dict[str, Number] | None = None
    logged: dict[str, Number] = field(default_factory=dict)
    items: int | None = None
    sd: Number | None = None


@dataclass(frozen=True)
class Claim:
    """name: what is claimed. published: the number behind it. first and second: cells, averaged, pair by pair.

    kind: more (first - second above 0), no_worse (first - second above -margin), below and above (first / second below
    or above `margin`), steadier (the standard deviation over seeds is smaller), cannot (not tested here; `why` says
    it). A margin stands here before the runs do and is never taken from them. origin: paper, or ours for a question
    that no paper asks; a plan without a paper has only these. second_measure: where the second group is measured by
    something else. target: the cell whose last validation score is to be reached, for the measures that start with
    reach_. tasks: those of the runs that count.
    """

    name: str
    published: str
    kind: str = "more"
    first: tuple[str, ...] = ()
    second: tuple[str, ...] = ()
    measure: str = "score"
    second_measure: str | None = None
    margin: Number | None = None
    target: str | None = None
    tasks: tuple[str, ...] = ()
    why: str = ""
    origin: str = "paper"


@dataclass(frozen=True)
class Planned:
    """How many repeats a difference takes (`significance.repeats_needed`), at the deviation of paired differences that
    earlier runs had. seeds: with a chance of 80 % to see `difference` points in one claim at 5 %."""

    sd: Number
    seeds: int
    difference: Number = 2


@dataclass(frozen=True)
class Plot:
    """One picture. y: a measure for each row of panels. x: a measure, or "at" for the cells' own places.

    name: behind the plan's in the file name. cells: those drawn, all but sources unless given. tasks: the panels from
    left to right, all unless given. log: a logarithmic x axis. target: as in a claim. together: one panel of the means
    over all tasks. front: join the points of a scatter than which none is both higher and further left.
    """

    kind: str
    title: str
    y: tuple[str, ...]
    y_labels: tuple[str, ...]
    name: str = ""
    x: str = "at"
    x_label: str = ""
    cells: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    log: int = 0
    target: str | None = None
    together: bool = False
    front: bool = False


@dataclass(frozen=True)
class Mean:
    """A mean that a paper's table prints over the cells of `tasks`, of each cell's first metric."""

    name: str
    tasks: tuple[str, ...]
    published: Number
    k: int | None = None

    @property
    def label(self) -> str:
        return with_k(self.name, self.k)


@dataclass(frozen=True)
class Tune:
    """How the rates of each cell are chosen (`plans.tune`). factors: on its rates. seeds: of the trials. settings: of
    the trials alone. around: multiples of the chosen rates that `around_seeds` run at."""

    factors: tuple[Number, ...]
    seeds: tuple[int, ...] = (101,)
    settings: Settings = field(default_factory=dict)
    around: tuple[Number, ...] = ()
    around_seeds: tuple[int, ...] = (1, 2, 3)


@dataclass(frozen=True)
class Recipe:
    """Settings that rows of a table share: experiment for all cells; cells for those of a task, of a k, or of both."""

    experiment: Settings = field(default_factory=dict)
    cells: dict[str, Settings] = field(default_factory=dict)


@dataclass(frozen=True)
class PlanFile:
    """What its cells share, the cells, and how their scores are looked at.

    base: files of configs, merged from left to right, then `experiment`. grid: dotted keys to values, crossed with the
    cells. pick: chooses a cell for each task by its mean validation score. tune: chooses the rates of each cell, and
    `tuned` holds the choice; no key of a file. cells_of: a plan whose cells these are, without those that `without`
    names; a cell of the same name is laid over. baseline: the cell than which every other one is claimed to score
    higher, so that its page says which do. measure: of cells that say nothing else; forgetting: on which text.
    view: comparison, for the page of methods; trials, for the plan of its trials, which no file is. fast: settings of
    --fast over its usual ones. shows: "figure 5", "table 8" of the paper. planned: how many seeds would be needed.
    table, method, protocol, means: a row of a paper's table; given: settings that only the command can bring, such as a
    source run. quotes: the printed row whose values are the cells', in the columns of `tasks` if there are any. recipe:
    files of settings that rows share, below `experiment`.
    training: "single-task" and the like, that of the quoted row unless it differs here.
    """

    path: Path
    cells: tuple[Cell, ...] = (Cell(),)
    grid: dict[str, list[Any]] = field(default_factory=dict)
    base: tuple[str, ...] = ()
    experiment: Settings = field(default_factory=dict)
    stop: Stop | None = None
    tasks: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    draws: tuple[int, ...] = ()
    fast: Settings = field(default_factory=dict)
    pick: str | None = None
    tune: Tune | None = None
    cells_of: str | None = None
    without: tuple[str, ...] = ()
    baseline: str = ""
    measure: tuple[str, ...] = ()
    forgetting: str = "shapes"
    view: str | None = None
    tuned: dict[str, Any] = field(default_factory=dict)
    paper: str = ""
    title: str = ""
    published: str = ""
    shows: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
    planned: Planned | None = None
    plots: tuple[Plot, ...] = ()
    note: str = ""
    table: int | None = None
    method: str = ""
    protocol: str | None = None
    means: tuple[Mean, ...] = ()
    given: tuple[str, ...] = ()
    quotes: str | None = None
    recipe: tuple[str, ...] = ()
    training: str = ""

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def row(self) -> str:
        """A table's row: the file's name without its table, which is the method and its variant."""
        return self.name.partition("_")[2]

    @property
    def variant(self) -> str | None:
        return self.row.removeprefix(self.method).removeprefix("_") or None

    def cell(self, name: str) -> Cell:
        return next(each for each in self.cells if each.name == name)

    def compared(self) -> tuple[Cell, ...]:
        """The cells that are no mere start of others."""
        links = [link for each in self.cells for link in (each.needs, each.sources)]
        sources = {link.cell for link in links if link is not None}
        return tuple(each for each in self.cells if each.name not in sources)

    def origin(self, claim: Claim) -> str:
        """ "dept" and the like for a claim of a paper, "ours" for a question of our own."""
        return self.paper if self.paper and claim.origin == "paper" else "ours"

    def costed(self) -> list[str]:
        return [each.name for each in self.cells if "costs" in each.measure]

    def only(self, task: str | None, k: int | None) -> "PlanFile":
        """With the cells of a task and a k alone; they may be none."""
        kept = [each for each in self.cells if task in (None, each.task) and k in (None, each.k)]
        return dataclasses.replace(self, cells=tuple(kept))
