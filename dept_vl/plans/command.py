"""The command that does a plan: a file, or a grid of settings over seeds; it goes on where it was stopped.

    plan.py configs/plans/equal_time.yaml --jobs 2
    plan.py --task shapes-rte --seeds 1 2 3 --grid optim.lr.prompt=1.0,2.0
    plan.py configs/plans/dept.yaml --config configs/paper/vqa_dept.yaml --task.root data/vqa2
    plan.py configs/comparison/*.yaml --output_dir runs/comparison --page docs
    plan.py --compare runs/dept_seed1 runs/dept_seed2 --against runs/pt_seed1 runs/pt_seed2

Started several times, on several devices, the commands share the runs. Exit status: 1 where runs failed.
"""

import argparse
import dataclasses
import hashlib
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dept_vl.config import config_files, find_config, given_settings, own_settings, parse_experiment
from dept_vl.plans.compare_runs import compare_runs
from dept_vl.plans.comparison_page import PAGE, write_comparison
from dept_vl.plans.execute import How, do, tell_claims, write_table
from dept_vl.plans.forgotten import check_text
from dept_vl.plans.load import Changes, complete, load_plan
from dept_vl.plans.pool import Say
from dept_vl.plans.published import check_given
from dept_vl.plans.runs import Schedule, make_schedule
from dept_vl.plans.schema import BEST, COMPARISON, PlanFile
from dept_vl.plans.settings import BadPlan, Settings, merge, read, read_all
from dept_vl.plans.store import NAME, Row, as_csv, given_values, known_runs, merged, read_values, with_stored
from dept_vl.plans.summary import check_pick
from dept_vl.plans.table import Table, read_table
from dept_vl.plans.tune import choose, trials, tuned
from dept_vl.plans.verdicts import judge_all
from dept_vl.registry import did_you_mean
from dept_vl.run import check
from dept_vl.tasks import TASKS, TextTask
from dept_vl.untrusted.whole_files import check_writable, write_files_whole
from dept_vl.untrusted.yaml_text import NotYaml, parse_yaml

ROOT, FAST_ROOT = Path("runs/plans"), Path("runs/plans_fast")


def main(
    argv: Sequence[str] | None = None, say: Say = print, *, show: Say = print, prog: str | None = None, **how: Any
) -> int:
    """Do plans; the exit status.

    say: gets lines of progress and results; with --json `show` gets the results, as one JSON object a plan. `how`: as
    `How` takes it. Raises: BadPlan, StaleRun, and what a check refuses.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    files = []
    while argv and not argv[0].startswith("-"):
        files.append(find_config(Path(argv.pop(0))))
    args, flags = parser(prog).parse_known_args(argv)
    if {"-h", "--help"} & set(flags):
        parser(prog).print_help()
        parse_experiment(
            ["--help"], description="The experiment of a cell.", defaults=config_files("backbones/tiny.yaml")
        )
    if args.compare or args.against:
        if flags or files:
            given = " ".join([*flags, *map(str, files)])
            raise BadPlan(f"--compare: wanted run folders alone, given {given}")
        compared = compare_runs(
            args.compare, args.against, metric=args.metric, resamples=args.resamples, seed=args.resample_seed
        )
        show(json.dumps(dataclasses.asdict(compared))) if args.json else say(compared.as_text())
        return 0
    root = args.output_dir or (FAST_ROOT if args.fast else ROOT)
    way = How(root, say, args.jobs, args.again, args.fast, given_values(args.values), **how)
    plans = [_only(load(file, args, flags), args.cells) for file in files or [None]]
    if args.forgetting is not None:
        plans = [dataclasses.replace(plan, forgetting=args.forgetting) for plan in plans]
    if args.page is not None:
        if args.cells:
            raise BadPlan("--page: writes all cells of a plan; wanted it without --cells")
        return _write_page(plans, args, flags, way)
    for plan in plans:
        check_pick(plan)
        check_given(plan)
        check_text(plan)
    return max(_do(plan, args, way, show, _told(args, flags)) for plan in plans)


def _do(plan: PlanFile, args: argparse.Namespace, way: How, show: Say, more: str) -> int:
    """One plan; before it the trials of its rates. more: what the command says of the runs."""
    if plan.tune is not None:
        trial = trials(plan)
        status = _run(trial, args, way, show, more)
        if args.dry_run:
            way.say(f"{plan.name}: then its {len(plan.cells)} cells, at the rates that validation chooses")
            return status
        plan, left = _tuned(plan, _table(trial, make_schedule([trial], way.root), way.root, way.values))
        for name in left:
            way.say(f"{name}: no rates are chosen, since not all of its trials are finished")
        if not plan.cells:
            return 1
        return max(status, _run(plan, args, way, show, more))
    return _run(plan, args, way, show, more)


def _tuned(plan: PlanFile, trial: Table) -> tuple[PlanFile, list[str]]:
    """The plan at the rates that finished trials chose, and the cells that have none yet."""
    chosen = choose(plan, trial)
    return tuned(plan, chosen), [cell.name for cell in plan.cells if cell.name not in chosen]


def _run(plan: PlanFile, args: argparse.Namespace, way: How, show: Say, more: str) -> int:
    root, say = way.root, way.say
    schedule = make_schedule([plan], root)
    first = {(each.cell, each.task): each.run for each in reversed(schedule.places[plan.name])}
    for key in first.values():  # other seeds and draws are as possible
        if not schedule.runs[key].waits_for:
            check(schedule.runs[key].config)
    if args.dry_run:
        wanted = schedule.places[plan.name]
        if args.json:
            show(json.dumps({"plan": plan.name, "wanted": [dataclasses.asdict(each) for each in wanted]}))
            return 0
        say("\n".join(f"{each.cell}, {each.task}, seed {each.seed}, draw {each.draw}: {each.run}" for each in wanted))
        known = len(known_runs([plan], schedule, way.values))
        say(f"{len(schedule.runs)} runs" + (f", {known} of which have their values kept" if known else ""))
        return 0
    check_writable(root / plan.name / "table.md")
    failed = do([plan], schedule, way)
    here = read_table(plan, schedule, root)
    say("\n" + write_table(here, root / plan.name, failed))
    table = with_stored(here, way.values)
    if table.stored is not None:
        say(f"{table.finished} of {len(table.wanted)} runs with those whose values are kept; of all of them is this:")
    tell_claims(table, root / plan.name, say, judge_all([table])[plan.name])
    say(f"{root / plan.name}/table.md and table.csv")
    if plan.view == COMPARISON:
        write_comparison([(table, more)], root / plan.name)
        say(f"{root / plan.name}/comparison.md and comparison.html")
    if args.json:
        folder = str(root / plan.name)
        show(json.dumps({"plan": plan.name, "folder": folder, "runs": table.rows(), "failed": dict(failed)}))
    return 1 if failed else 0


def _table(plan: PlanFile, schedule: Schedule, root: Path, rows: Sequence[Row]) -> Table:
    return with_stored(read_table(plan, schedule, root), rows)


def _write_page(plans: Sequence[PlanFile], args: argparse.Namespace, flags: Sequence[str], way: How) -> int:
    """Of what is finished, here or in the values beside an earlier page; nothing is run."""
    values = args.page / PAGE / NAME
    more, kept, tables, trial_tables = _told(args, flags), merged(read_values(values), way.values), [], []

    def table(plan: PlanFile) -> Table:
        return _table(plan, make_schedule([plan], way.root), way.root, kept)

    for plan in plans:
        if plan.tune is not None:
            trial = table(trials(plan))
            plan, left = _tuned(plan, trial)
            trial_tables.append(trial)
            if left:
                way.say(f"{plan.name}: not all trials are finished, so no rates are chosen for {', '.join(left)}")
        tables.append(table(plan))
    shown = list(filter(_any, tables))
    if not shown:
        raise BadPlan(f"--page: {way.root}: wanted finished runs of these plans, given none")
    write_comparison([(each, more) for each in shown], args.page)
    write_files_whole(values.parent, {values.name: as_csv([*shown, *filter(_any, trial_tables)], kept).encode()})
    for each in shown:
        stored = f", with those of {values}" if each.stored is not None else ""
        way.say(f"{each.plan.name}: {each.finished} of {len(each.wanted)} runs are finished{stored}")
    way.say(f"{args.page}/comparison.md and comparison.html, single values in {values}")
    return 0


def _any(table: Table) -> bool:
    return table.finished > 0


def _told(args: argparse.Namespace, flags: Sequence[str]) -> str:
    """What the command says of the runs themselves, as it would be typed."""
    words = [*flags, *(word for axis in args.grid for word in ("--grid", axis))]
    for name in ("seeds", "draws", "forgetting", "output_dir"):
        if value := getattr(args, name):
            words += [f"--{name}", *map(str, value if isinstance(value, list | tuple) else [value])]
    return shlex.join(words)


def _only(plan: PlanFile, names: Sequence[str]) -> PlanFile:
    """With these cells alone, and those that they start from. Raises: BadPlan."""
    if not names:
        return plan
    there = [cell.name for cell in plan.cells]
    for name in names:
        if name not in there:
            raise BadPlan(f"--cells: wanted a cell of {plan.name}, given {name!r}.{did_you_mean(name, there)}")
    kept = set(names)
    for cell in reversed(plan.cells):  # what a cell needs stands before it
        if cell.name in kept:
            kept |= {link.cell for link in (cell.needs, cell.sources) if link is not None}
    return dataclasses.replace(plan, cells=tuple(each for each in plan.cells if each.name in kept), claims=(), plots=())


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The flags of a plan, in front of the experiment's."""
    made = argparse.ArgumentParser(
        prog,
        description="Does a plan: a file of cells, or a grid of settings over seeds; goes on where it was stopped.",
        usage="%(prog)s [FILE ...] [--grid KEY=VALUE,VALUE ...] [--seeds N ...] [--config FILE ...] [--key value ...]",
        epilog="FILE is a plan, such as those of configs/plans and configs/comparison. "
        "All other flags are the experiment's, for every cell, as follows.",
        allow_abbrev=False,
        add_help=False,
    )
    made.add_argument("--grid", action="append", default=[], metavar="KEY=VALUE,VALUE", help="one axis; repeatable")
    made.add_argument("--seeds", type=int, nargs="+", default=(), help="instead of the file's, or the config's one")
    made.add_argument("--draws", type=int, nargs="+", default=(), help="few-shot draws (default: 0 1 2)")
    made.add_argument("--cells", nargs="+", default=(), help="these cells alone, and those that they start from")
    made.add_argument(
        "--page",
        type=Path,
        metavar="FOLDER",
        help="run nothing: write comparison.md and comparison.html of what is finished into FOLDER",
    )
    made.add_argument("--values", type=Path, metavar="FILE",
                      help=f"the {NAME} of a page: runs whose values it has are not done again, and count")  # fmt: skip
    made.add_argument("--forgetting", metavar="FILE", help="the plain text of `measure: forgetting`, not the plan's")
    made.add_argument("--jobs", type=int, default=1, help="runs at once")
    made.add_argument("--fast", action="store_true", help="tiny runs of one seed that show that all works")
    made.add_argument("--dry-run", action="store_true", help="only check every cell and list the runs")
    made.add_argument("--json", action="store_true", help="print results as one JSON object, progress to stderr")
    made.add_argument("--again", action="store_true", help="try runs once more that failed")
    made.add_argument("--output_dir", type=Path, help=f"folder of the runs and tables (default: {ROOT})")
    pair = made.add_argument_group("two lists of run folders on the same test items, paired in their order")
    pair.add_argument("--compare", nargs="+", type=Path, default=(), help="run folders of one config, one per seed")
    pair.add_argument("--against", nargs="+", type=Path, default=(), help="as many run folders of the other")
    pair.add_argument("--metric", help="name in metrics.test of results.json (default: the task's headline)")
    pair.add_argument("--resamples", type=int, default=1000, help="of the bootstrap and of the permutation test")
    pair.add_argument("--resample_seed", type=int, default=0, help="of the resampling")
    return made


def load(file: Path | None, args: argparse.Namespace, flags: Sequence[str]) -> PlanFile:
    """The plan that a command names, or makes of its grid. Raises: BadPlan."""
    files, given = given_settings(flags)
    content = read(file) if file is not None else {}
    below = {} if files or content.get("base") else defaults(given, content.get("tasks"))
    grid = dict(map(parse_axis, args.grid))
    changes = Changes(read_all(files), given, grid, args.seeds, args.draws, args.fast, below)
    if file is not None:
        return load_plan(file, changes)
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(changes), sort_keys=True).encode()).hexdigest()[:6]
    name = "_".join(["grid", *(key.rpartition(".")[2] for key in grid), digest])
    return complete(PlanFile(Path(name), pick=BEST), changes)


def defaults(given: Settings, tasks: Any = None) -> Settings:
    """With what the script of the task's kind trains; a plan of its own tasks takes no task from it."""
    own = given.get("task", {})
    own = own.get("mixture") or [own.get("name", "vqa").partition(",")[0]]
    name = tasks[0] if isinstance(tasks, list) and tasks else own[0]
    kind = "text" if name in TASKS and isinstance(TASKS[name], TextTask) else "caption" if name == "caption" else "vqa"
    adapter = "dept_vqa" if kind == "vqa" else "dept"
    found = read_all(config_files("backbones/tiny.yaml", f"tasks/{kind}_shapes.yaml", f"adapters/{adapter}.yaml"))
    if (name := given.get("adapter", {}).get("name", found["adapter"]["name"])) != found["adapter"]["name"]:
        found = merge(found, {"adapter": {"name": name}, "optim": own_settings(name).get("optim", {})})
    if tasks:
        del found["task"]["name"]
    return found


def parse_axis(words: str) -> tuple[str, list[Any]]:
    """ "optim.lr.prompt=0.3,4e-1" to its key and values, as YAML reads them between brackets, 4e-1 a number too."""
    key, equals, text = words.partition("=")
    try:
        values = parse_yaml(f"[{text}]")
    except NotYaml:
        values = None
    if not equals or not values:
        raise BadPlan(f"--grid: wanted key=value,value,..., given {words!r}")
    return key, [_number(each) for each in values]


def _number(value: Any) -> Any:
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
