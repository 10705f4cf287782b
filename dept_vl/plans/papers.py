"""The papers' view of plans: what of them stands where, their tables beside the published scores, and the page."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dept_vl.config import config_files, given_settings
from dept_vl.plans.contents import listing, load_contents, recorded
from dept_vl.plans.execute import How, do, tell_claims
from dept_vl.plans.figures import write_figures
from dept_vl.plans.load import Changes, load_plans
from dept_vl.plans.page import make_section, write_page
from dept_vl.plans.pool import Say
from dept_vl.plans.published import (
    beside,
    check_given,
    check_rows,
    load_rows,
    means,
    select_rows,
    whole_table,
    why_absent,
)
from dept_vl.plans.quoted import load_blocks
from dept_vl.plans.runs import make_schedule
from dept_vl.plans.schema import PlanFile
from dept_vl.plans.settings import BadPlan, read_all
from dept_vl.plans.store import NAME, as_csv, given_values, merged, read_values, with_stored
from dept_vl.plans.table import Table, read_table
from dept_vl.plans.verdicts import Verdicts, judge_all
from dept_vl.registry import did_you_mean
from dept_vl.tasks import TASKS
from dept_vl.untrusted.whole_files import check_writable, write_files_whole

ROWS, ROOT, FAST_ROOT, DOCS = (
    Path(each) for each in ("runs/paper", "runs/reproduction", "runs/reproduction_fast", "docs")
)
STUDY = ("figure", "study", "list", "all", "fast", "page")  # flags about plans on the embedded default


def parser(papers: Sequence[str]) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description="Re-does the papers: rows of their tables beside the published scores, and studies on the embedded "
        "default.",
        epilog="With --table further flags change the experiment of every cell, such as --config FILE, --task.root "
        "data, --max_steps 20; scripts/train_text.py --help explains them. A finished cell is not run again, a begun "
        "one goes on. Rows are configs/paper/<paper>/table<N>_<method>.yaml; each opens with its sources.",
        allow_abbrev=False,
    )
    made.add_argument("--paper", choices=papers, help="dept where a table is given; without one, all papers")
    made.add_argument("--table", type=int, help="its number in the paper")
    made.add_argument("--method", help="dept, pt, ..., or one variant, as in the file's name: dpt_t5_base")
    made.add_argument("--task", help="one task of the row")
    made.add_argument("--k", type=int, help="one k of a few-shot table")
    made.add_argument("--seeds", type=int, nargs="+", default=(), help="instead of the row's own")
    made.add_argument("--output_dir", type=Path, help=f"folder of all runs ({ROWS}; studies: {ROOT})")
    made.add_argument("--dry-run", action="store_true", help="only check the rows against tasks and adapters")
    made.add_argument("--jobs", type=int, help="runs at once (of a table 1, of studies 2)")
    made.add_argument("--again", action="store_true", help="try runs once more that failed")
    group = made.add_argument_group("studies: figures, tables and ablations re-done on the embedded default")
    group.add_argument("--figure", type=int, help="its number in the paper")
    group.add_argument("--study", help="a file of configs/plans that belongs to a paper")
    group.add_argument("--list", action="store_true", help="every figure and table of the papers and where it stands")
    group.add_argument("--all", action="store_true", help="every study; goes on where it was stopped")
    group.add_argument("--fast", action="store_true", help="tiny runs that show that all works; alone: every study")
    group.add_argument(
        "--values", type=Path, metavar="FILE",
        help=f"the {NAME} of a page (docs/figures): runs whose values it has are not done again, and count",
    )  # fmt: skip
    group.add_argument("--page", action="store_true", help="only write figures and page from what is there")
    return made


def main(argv: Sequence[str] | None = None, say: Say = print, *, configs: Path | None = None, **how: Any) -> int:
    """The exit status: 1 where runs failed. `configs`: that folder. `how`: as `How` takes it. Raises: BadPlan."""
    configs = configs or config_files("paper")[0].parent
    papers = sorted(path.name for path in (configs / "paper").iterdir() if path.is_dir())
    made = parser(papers)
    args, flags = made.parse_known_args(argv)
    flags = [flag for flag in flags if flag != "--"]
    is_study = any(getattr(args, name) not in (None, False) for name in STUDY)
    if is_study and flags:
        made.error(f"studies take no further flags, given {' '.join(flags)}")
    if is_study and args.table is not None:
        made.error("--table: runs rows with real weights; wanted --study dept_table8 and the like, or --list")
    if args.values and not is_study:
        made.error("--values: is of studies: wanted --all, --study, --figure or --page beside it")
    if args.table is None and not (args.dry_run or is_study):
        made.error("wanted --table, or --dry-run to check all of them, given neither")
    if is_study:
        root = args.output_dir or (FAST_ROOT if args.fast else ROOT)
        jobs, rows = 2 if args.jobs is None else args.jobs, given_values(args.values)
        return _studies(args, configs, How(root, say, jobs, args.again, args.fast, rows, **how))
    papers = [args.paper] if args.paper else ["dept"] if args.table is not None else papers
    jobs = 1 if args.jobs is None else args.jobs
    return _rows(args, flags, configs / "paper", papers, How(args.output_dir or ROWS, say, jobs, args.again, **how))


def _rows(args: argparse.Namespace, flags: Sequence[str], folder: Path, papers: Sequence[str], how: How) -> int:
    files, given = given_settings(flags)
    changes = Changes(read_all(files), given, seeds=args.seeds)
    every = [row for paper in papers for row in load_rows(folder, paper, changes, table=args.table)]
    task = TASKS[args.task].name if args.task else None
    rows = select_rows(every, table=args.table, method=args.method, task=task, k=args.k)
    how.say("\n".join(check_rows(rows)))
    ours, failed = {}, {}
    for row in [] if args.dry_run else rows:
        try:
            check_given(row)
        except BadPlan as error:
            if args.method:
                raise
            how.say(f"\nleft out: {error}")
            continue
        how.say(f"\n{row.paper}/{row.path.name}{' with ' + ' '.join(flags) if flags else ''}")
        ours[row.row], lost = _fill(row, how)
        failed |= lost
    blocks = [block for paper in papers for block in load_blocks(folder, paper)]
    blocks = [block for block in blocks if block.table == args.table and args.k in (None, block.k)]
    if not (args.dry_run or args.method or args.task):
        for block in blocks:
            how.say("\n" + whole_table(block, rows, ours))
    if not rows:
        raise BadPlan(why_absent(args.method, every, blocks))
    return 1 if failed else 0


def _fill(row: PlanFile, how: How) -> tuple[dict[str, float], dict[str, str]]:
    """Run a row; our score of each cell and mean by its label, and what failed."""
    schedule = make_schedule([row], how.root)
    failed = do([row], schedule, how)
    table, scores = read_table(row, schedule, how.root), {}
    for cell in row.cells:
        outcomes = table.of(cell.name)
        if outcomes:
            lines = beside(cell, [each.results for each in outcomes])
            scores[cell.name] = lines[0].ours
            warnings = [
                f"  {each.folder}: {warning}"
                for each in outcomes
                for warning in each.results["metrics"]["test"].get("warnings", [])
            ]
            how.say("\n".join([*(line.line() for line in lines), *warnings]))
    for mean in means(row, scores):
        scores[mean.label] = mean.ours
        how.say(mean.line())
    for name, reason in failed.items():
        how.say(f"failed: {name}: {reason}")
    return scores, failed


def _studies(args: argparse.Namespace, configs: Path, how: How) -> int:
    every = {name: plan for name, plan in load_plans(configs / "plans", Changes(fast=args.fast)).items() if plan.paper}
    schedule = make_schedule(every.values(), how.root)
    contents = load_contents(configs / "paper" / "contents.yaml")
    if args.list:
        tables = {name: read_table(plan, schedule, how.root) for name, plan in every.items()}
        page = DOCS / "reproduction.md"
        states = {
            name: f"recorded in {page}: {recorded(page, each.plan, len(each.wanted))}; "
            f"runs here: {len(each.outcomes)} of {len(each.wanted)}"
            for name, each in tables.items()
        }
        how.say("\n".join(listing(contents, every.values(), states, configs / "paper")))
        return 0
    shows = f"figure {args.figure}" if args.figure is not None else None
    whole = not (args.study or shows or args.paper)
    if args.page and not whole:
        raise BadPlan("--page: writes the page of all studies; wanted it without --paper, --figure and --study")
    chosen = select_plans(every, paper=args.paper or ("dept" if shows else None), shows=shows, name=args.study)
    folder = how.root if args.fast or args.output_dir else DOCS
    failed = {}
    if not args.page:
        check_writable(folder / "figures" / "claims.csv")
        failed = do(chosen, schedule, how)
    kept = merged(read_values(folder / "figures" / NAME), how.values)
    tables = [with_stored(read_table(plan, schedule, how.root), kept) for plan in every.values()]
    verdicts = judge_all(tables)  # a claim is corrected beside all of its paper, whatever is asked for
    if whole:
        _write_all(tables, verdicts, folder, kept, contents.missing, how)
    else:
        for table in (each for each in tables if each.plan in chosen):
            how.say(f"\n{table.plan.title}: {table.finished} of {len(table.wanted)} results")
            tell_claims(table, folder / "figures", how.say, verdicts[table.plan.name])
    for name, reason in failed.items():
        how.say(f"failed: {name}: {reason}")
    return 1 if failed else 0


def _write_all(
    tables: Sequence[Table], verdicts: Verdicts, folder: Path, kept: Sequence[dict[str, str]], missing: Any, how: How
) -> None:
    figures = folder / "figures"
    sections = []
    for table in tables:
        drawn = write_figures(table, figures)
        if table.stored is not None:  # the others were drawn when its runs were here
            drawn += [path.stem for path in figures.glob("*.png")]
        sections.append(make_section(table, drawn, verdicts[table.plan.name]))
    if not any(section.finished for section in sections):
        raise BadPlan(f"{how.root}: wanted finished runs, given none: the page is left as it is (--all runs them)")
    write_files_whole(figures, {NAME: as_csv(tables, kept).encode()})
    write_page(sections, folder, figures, verdicts=verdicts, missing=missing, fast=how.fast)
    how.say(f"{folder / 'reproduction.md'} and reproduction.html, figures and single values in {figures}")


def select_plans(
    plans: dict[str, PlanFile], *, paper: str | None, shows: str | None, name: str | None
) -> list[PlanFile]:
    """The plans of a paper that show a figure or table ("figure 5"), or the one of that name. Raises: BadPlan."""
    if name is not None and name not in plans:
        raise BadPlan(f"--study: wanted one of {', '.join(plans)}, given {name!r}.{did_you_mean(name, plans)}")
    found = [each for each in plans.values() if name in (None, each.name)]
    found = [each for each in found if paper in (None, each.paper) and (shows is None or shows in each.shows)]
    if not found:
        there = sorted({f"{each.paper} {item}" for each in plans.values() for item in each.shows})
        asked = " ".join(filter(None, (paper, shows)))
        raise BadPlan(
            f"wanted one of {', '.join(there)}, given {asked}.{did_you_mean(asked, there)} (--list says more)"
        )
    return found
