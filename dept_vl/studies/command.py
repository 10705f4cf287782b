"""What scripts/reproduce.py does for studies: choose, run, measure, draw, judge and write the page."""

import argparse
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from dept_vl.studies.claims import judge
from dept_vl.studies.contents import listing, load_contents
from dept_vl.studies.costs import measure_costs, read_costs
from dept_vl.studies.figures import write_figures
from dept_vl.studies.files import BadStudy, Study, load_studies, select
from dept_vl.studies.outcomes import Done, read_outcomes
from dept_vl.studies.page import make_section, write_page
from dept_vl.studies.plan import Plan, key, make_plan
from dept_vl.studies.pool import Say, Work, locked, processes, run_all, work

ROOT, FAST_ROOT, DOCS = Path("runs/reproduction"), Path("runs/reproduction_fast"), Path("docs")
_ROUNDS, _ROWS = 15, 128  # of the timing of costs
_FAST_ROUNDS, _FAST_ROWS = 3, 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of studies."""
    group = parser.add_argument_group("studies: figures, tables and ablations re-done on the embedded default")
    group.add_argument("--figure", type=int, help="its number in the paper")
    group.add_argument("--study", help="a file of configs/studies")
    group.add_argument("--list", action="store_true", help="every figure and table of the papers and where it stands")
    group.add_argument("--all", action="store_true", help="every study; goes on where it was stopped")
    group.add_argument("--fast", action="store_true", help="tiny runs that show that all works; alone: every study")
    group.add_argument("--page", action="store_true", help="only write figures and page from what is there")
    group.add_argument("--jobs", type=int, default=2, help="runs at once")


def is_asked(args: argparse.Namespace) -> bool:
    """Whether the command is about studies."""
    return bool(args.figure is not None or args.study or args.list or args.all or args.fast or args.page)


def main(
    args: argparse.Namespace,
    configs: Path,
    say: Say,
    *,
    work: Work = work,
    pool: Callable[[int], Executor] = processes,
    docs: Path = DOCS,
) -> int:
    """The exit status: 1 where runs failed. `configs` is the folder configs.

    Raises: BadStudy.
    """
    if args.jobs < 1:
        raise BadStudy(f"--jobs: wanted at least 1, given {args.jobs}")
    if args.table is not None:
        raise BadStudy("--table: runs rows with real weights; wanted --study dept_table8 and the like, or --list")
    every = load_studies(configs / "studies")
    root = args.output_dir or (FAST_ROOT if args.fast else ROOT)
    plan = make_plan(every.values(), root, fast=args.fast)
    contents = load_contents(configs / "studies")
    if args.list:
        done = [read_outcomes(study, plan) for study in every.values()]
        progress = {each.study.name: (len(each.outcomes), each.wanted) for each in done}
        say("\n".join(listing(contents, every.values(), progress, configs / "paper")))
        return 0
    shows = f"figure {args.figure}" if args.figure is not None else None
    whole = not (args.study or shows or args.paper)
    if args.page and not whole:
        raise BadStudy("--page: writes the page of all studies; wanted it without --paper, --figure and --study")
    chosen = select(every, paper=args.paper or ("dept" if shows else None), shows=shows, name=args.study)
    failed = {} if args.page else _run(chosen, plan, root, args, say, work, pool)
    folder = root if args.fast or args.output_dir else docs
    sections = []
    for study in every.values() if args.page or whole else chosen:
        done = read_outcomes(study, plan, read_costs(costs_path(study, plan, root)))
        sections.append(make_section(done, write_figures(done, folder / "figures")))
        if study in chosen and not whole:
            _tell(done, sections[-1].figures, folder, say)
    if whole:
        if not any(section.finished for section in sections):
            raise BadStudy(f"{root}: wanted finished runs, given none: the page is left as it is (--all runs them)")
        write_page(sections, folder, folder / "figures", missing=contents.missing, fast=args.fast)
        say(f"{folder / 'reproduction.md'} and reproduction.html, figures in {folder / 'figures'}")
    for name, reason in failed.items():
        say(f"failed: {name}: {reason}")
    return 1 if failed else 0


def _run(
    chosen: Sequence[Study], plan: Plan, root: Path, args: argparse.Namespace, say: Say, work: Work, pool: Any
) -> dict[str, str]:
    wanted = {place.run for study in chosen for place in plan.places[study.name]}
    runs = {name: run for name, run in plan.runs.items() if name in wanted}
    failed = run_all(runs, jobs=args.jobs, say=say, work=work, pool=pool)
    rounds, rows = (_FAST_ROUNDS, _FAST_ROWS) if args.fast else (_ROUNDS, _ROWS)
    for study in (each for each in chosen if each.costs):
        path = costs_path(study, plan, root)
        if not path.exists():
            say(f"time and memory of {study.name}, with nothing beside it")
            with locked(path.with_suffix(".lock")), pool(1) as executor:
                executor.submit(measure_costs, cost_configs(study, plan), path, rounds=rounds, rows=rows).result()
    return failed


def cost_configs(study: Study, plan: Plan) -> dict[str, Any]:
    """The first run of each cell whose costs are measured."""
    places = plan.places[study.name]
    first = {name: next(each for each in places if each.cell == name) for name in study.costs}
    return {name: plan.runs[place.run].config for name, place in first.items()}


def costs_path(study: Study, plan: Plan, root: Path) -> Path:
    """Named by the cells' runs: other settings are measured anew."""
    names = "".join(key(config) for config in cost_configs(study, plan).values())
    return root / "costs" / f"{study.name}_{hashlib.sha256(names.encode()).hexdigest()[:10]}.json"


def _tell(done: Done, figures: Sequence[tuple[str, str]], folder: Path, say: Say) -> None:
    say(f"\n{done.study.title}: {len(done.outcomes)} of {done.wanted} results")
    for claim in done.study.claims:
        judged = judge(done, claim)
        say(f"  {claim.name}\n    published: {claim.published}\n    ours: {judged.ours}\n    {judged.verdict}")
    for _, name in figures:
        say(f"  {folder / 'figures' / name}.png and .csv")
