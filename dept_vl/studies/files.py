"""Study files: a figure, table or ablation of the papers on the embedded default, with every mistake named.

A study is configs/studies/<name>.yaml: settings of `Experiment` that its cells share, a cell for each setting that is
compared, what the paper says, and the claims and figures that are made of the scores. Numbers of the papers are as
printed.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dept_vl.registry import did_you_mean
from dept_vl.reproduction.files import merge
from dept_vl.reproduction.typed import BadTableFile, Settings, build, read

CONTENTS = "contents.yaml"  # beside the studies: what the papers hold, for --list
CLAIM_KINDS = ("more", "no_worse", "within_noise", "below", "above", "steadier", "cannot")
PLOT_KINDS = ("bars", "line", "scatter", "curves", "heat")


class BadStudy(BadTableFile):
    """A file of configs/studies that cannot be meant. The message names the file and the key."""


@dataclass(frozen=True)
class Cell:
    """One setting of a study; its runs are tasks x seeds x draws, those of the study unless it has its own.

    settings: once loaded, all that the cell's runs share. base: files merged behind the study's. same_as: "study/cell"
    whose runs these are. init_from: the cell of this study whose only run the runs start from. at: the place on a
    numeric axis. series: the line, or colour, that the point belongs to.
    """

    name: str
    settings: Settings = field(default_factory=dict)
    base: tuple[str, ...] = ()
    same_as: str | None = None
    init_from: str | None = None
    tasks: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    draws: tuple[int, ...] = ()
    at: float | int | None = None
    series: str = ""


@dataclass(frozen=True)
class Claim:
    """name: what is claimed. published: the number behind it. first and second: cells, averaged, pair by pair.

    kind: more (first - second above 0), no_worse (first - second above -margin), within_noise (no worse, with the
    second's own standard deviation over seeds as margin), below and above (first / second
    below or above `margin`), steadier (the standard deviation over seeds is smaller), cannot (not to be judged here;
    `why` says it). second_measure: where the second group is measured by something else. target: the cell whose last
    validation score is to be reached, for the measures that start with reach_. tasks: those of the runs that count.
    """

    name: str
    published: str
    kind: str = "more"
    first: tuple[str, ...] = ()
    second: tuple[str, ...] = ()
    measure: str = "score"
    second_measure: str | None = None
    margin: float | int | None = None
    target: str | None = None
    tasks: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Plot:
    """One picture. y: a measure for each row of panels. x: a measure, or "at" for the cells' own places.

    name: behind the study's in the file name. cells: those drawn, all but sources unless given. tasks: the panels
    from left to right, all unless given. log: a logarithmic x axis. target: as in a claim.
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


@dataclass(frozen=True)
class Study:
    """shows: "figure 5", "table 8" of the paper; none for an ablation that no paper has. costs: the cells whose time
    and memory are measured side by side. fast: settings of --fast over those that all studies have."""

    path: Path
    paper: str
    title: str
    published: str
    tasks: tuple[str, ...]
    cells: tuple[Cell, ...]
    plots: tuple[Plot, ...]
    claims: tuple[Claim, ...] = ()
    shows: tuple[str, ...] = ()
    base: tuple[str, ...] = ()
    experiment: Settings = field(default_factory=dict)
    seeds: tuple[int, ...] = (1, 2, 3)
    draws: tuple[int, ...] = (0,)
    costs: tuple[str, ...] = ()
    fast: Settings = field(default_factory=dict)
    note: str = ""

    @property
    def name(self) -> str:
        return self.path.stem

    def cell(self, name: str) -> Cell:
        return next(each for each in self.cells if each.name == name)

    def sources(self) -> set[str]:
        return {each.init_from for each in self.cells if each.init_from is not None}

    def compared(self) -> tuple[Cell, ...]:
        """The cells that are no mere start of others."""
        return tuple(each for each in self.cells if each.name not in self.sources())


def load_studies(folder: Path) -> dict[str, Study]:
    """Every study of configs/studies by its name, cells complete. Raises: BadStudy."""
    paths = sorted(path for path in folder.glob("*.yaml") if path.name != CONTENTS)
    studies = {path.stem: load_study(path, folder.parent) for path in paths}
    return {name: _with_shared_cells(study, studies) for name, study in studies.items()}


def load_study(path: Path, configs: Path) -> Study:
    """One study; the files of `base` lie below `configs`. Cells that are another study's are still empty.

    Raises: BadStudy.
    """
    try:
        study = build(Study, read(path), f"{path}: ", path=path)
        shared: Settings = {}
        for name in study.base:
            shared = merge(shared, read(configs / name))
        shared = merge(shared, study.experiment)
        cells = tuple(_complete(study, cell, shared, configs) for cell in study.cells)
    except BadStudy:
        raise
    except BadTableFile as error:
        raise BadStudy(str(error)) from error
    study = dataclasses.replace(study, cells=cells)
    _check_names(study)
    return study


def select(studies: Mapping[str, Study], *, paper: str | None, shows: str | None, name: str | None) -> list[Study]:
    """The studies of a paper that show a figure or table ("figure 5"), or the one of that name.

    Raises: BadStudy where there is none.
    """
    if name is not None and name not in studies:
        raise BadStudy(f"--study: wanted one of {', '.join(studies)}, given {name!r}.{did_you_mean(name, studies)}")
    found = [each for each in studies.values() if name in (None, each.name)]
    found = [each for each in found if paper in (None, each.paper) and (shows is None or shows in each.shows)]
    if not found:
        there = sorted({f"{each.paper} {item}" for each in studies.values() for item in each.shows})
        asked = " ".join(filter(None, (paper, shows)))
        raise BadStudy(
            f"wanted one of {', '.join(there)}, given {asked}.{did_you_mean(asked, there)} (--list says more)"
        )
    return found


def _complete(study: Study, cell: Cell, shared: Settings, configs: Path) -> Cell:
    where = f"{study.path}: cell {cell.name}: "
    if cell.same_as is not None and (cell.settings or cell.base or cell.init_from):
        raise BadStudy(f"{where}wanted same_as alone, given settings, base or init_from beside it")
    settings = shared
    for name in cell.base:
        settings = merge(settings, read(configs / name))
    return dataclasses.replace(
        cell,
        settings=merge(settings, cell.settings),
        tasks=cell.tasks or study.tasks,
        seeds=cell.seeds or study.seeds,
        draws=cell.draws or study.draws,
    )


def _with_shared_cells(study: Study, studies: Mapping[str, Study]) -> Study:
    return dataclasses.replace(study, cells=tuple(_shared(study, cell, studies) for cell in study.cells))


def _shared(study: Study, cell: Cell, studies: Mapping[str, Study]) -> Cell:
    if cell.same_as is None:
        return cell
    where = f"{study.path}: cell {cell.name}: same_as: "
    name, _, other = cell.same_as.partition("/")
    if name not in studies:
        raise BadStudy(f"{where}wanted a study, given {name!r}.{did_you_mean(name, studies)}")
    _check_is_cell(where, studies[name], other)
    theirs = studies[name].cell(other)
    if theirs.same_as is not None or theirs.init_from is not None:
        raise BadStudy(
            f"{where}wanted the cell that holds the settings, given {cell.same_as}, which takes them elsewhere"
        )
    return dataclasses.replace(cell, settings=theirs.settings)


def _check_names(study: Study) -> None:
    names = [cell.name for cell in study.cells]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise BadStudy(f"{study.path}: wanted each cell once, given {', '.join(sorted(doubled))} twice")
    for cell in study.cells:
        if cell.init_from is None:
            continue
        where = f"{study.path}: cell {cell.name}: init_from: "
        _check_is_cell(where, study, cell.init_from)
        source = study.cell(cell.init_from)
        if (sizes := (len(source.tasks), len(source.seeds), len(source.draws))) != (1, 1, 1) or source.init_from:
            given = "{} tasks, {} seeds, {} draws".format(*sizes)
            raise BadStudy(
                f"{where}wanted a cell of one run that starts from nothing, given {source.name} with {given}"
            )
    for claim in study.claims:
        where = f"{study.path}: claim {claim.name}: "
        _check_kind(f"{where}kind: ", claim.kind, CLAIM_KINDS)
        for name in (*claim.first, *claim.second, *([claim.target] if claim.target else [])):
            _check_is_cell(where, study, name)
        if claim.kind == "cannot" and not claim.why or claim.kind != "cannot" and not (claim.first and claim.second):
            raise BadStudy(f"{where}wanted {'why' if claim.kind == 'cannot' else 'cells first and second'}, given none")
        if claim.kind in ("no_worse", "below", "above") and claim.margin is None:
            raise BadStudy(f"{where}margin: wanted a number for {claim.kind}, given none")
    for plot in study.plots:
        where = f"{study.path}: plot {plot.title}: "
        _check_kind(f"{where}kind: ", plot.kind, PLOT_KINDS)
        for name in plot.cells:
            _check_is_cell(where, study, name)
        if len(plot.y) != len(plot.y_labels):
            raise BadStudy(f"{where}wanted a label for each of {len(plot.y)} measures, given {len(plot.y_labels)}")
    for name in study.costs:
        _check_is_cell(f"{study.path}: costs: ", study, name)


def _check_is_cell(where: str, study: Study, name: str) -> None:
    names = [cell.name for cell in study.cells]
    if name not in names:
        raise BadStudy(f"{where}wanted a cell of {study.name}, given {name!r}.{did_you_mean(name, names)}")


def _check_kind(where: str, kind: str, kinds: Iterable[str]) -> None:
    if kind not in kinds:
        raise BadStudy(f"{where}wanted one of {', '.join(kinds)}, given {kind!r}.{did_you_mean(kind, kinds)}")
