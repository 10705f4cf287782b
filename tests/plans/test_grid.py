"""A grid crossed with cells, and what a command changes in a plan: values, seeds, draws, what is refused and how."""

import re
from pathlib import Path

import pytest

from dept_vl.adapters.budget import dept_size
from dept_vl.plans.command import parse_axis
from dept_vl.plans.costs import cost_runs, costs_path
from dept_vl.plans.load import Changes, complete, load_plan
from dept_vl.plans.runs import make_schedule
from dept_vl.plans.schema import BEST, PlanFile
from dept_vl.plans.settings import BadPlan, flat, label
from dept_vl.plans.summary import check_pick
from dept_vl.run import check

BASE = {"eval_steps": 5, "seed": 7, "task": {"name": "cola"}}
FEW = {**BASE, "task": {"name": "cola", "k_shot": 16}}
PLANS = Path(__file__).resolve().parents[2] / "configs" / "plans"
GRIDS = [PLANS / f"{name}.yaml" for name in ("dept", "dept_lengths", "dpt_bottleneck", "dpt_lengths")]


def plan(*axes, files=None, **changes):
    grid = dict(map(parse_axis, axes))
    made = complete(PlanFile(Path("grid"), pick=BEST), Changes(files=files or BASE, grid=grid, **changes))
    check_pick(made)
    return made


def write(folder, text):
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def given(plan, *keys):
    return [tuple(flat(cell.settings)[key] for key in keys) for cell in plan.cells]


def test_each_method_of_a_grid_or_a_flag_has_arguments_of_its_own():
    base = {**BASE, "adapter": {"name": "dept", "args": {"num_virtual_tokens": 4, "r": 3, "max_length": 9}}}
    made = plan("adapter.name=pt,residual_pt,dept", files=base)
    own = {"num_virtual_tokens": 4, "bottleneck": 64}
    assert [each.settings["adapter"]["args"] for each in made.cells] == [
        {"num_virtual_tokens": 4}, own, base["adapter"]["args"]
    ]  # fmt: skip
    flags = {"adapter": {"name": "residual_pt", "args": {"num_virtual_tokens": 3}}}
    assert plan(files=base, flags=flags).cells[0].settings["adapter"]["args"] == own | {"num_virtual_tokens": 3}


def test_a_grid_is_the_product_of_its_axes_in_their_order():
    made = plan("optim.lr.prompt=0.3,4e-1", "max_steps=10,20", seeds=[1, 2])
    assert given(made, "optim.lr.prompt", "max_steps") == [(0.3, 10), (0.3, 20), (0.4, 10), (0.4, 20)]
    assert made.cells[0].name == "prompt=0.3, max_steps=10" and made.cells[0].seeds == (1, 2)


def test_values_get_the_type_of_their_setting():
    runs = make_schedule([plan("optim.lr.low_rank=1e-4,1")], Path("x")).runs.values()
    assert [run.config.optim.lr["low_rank"] for run in runs] == [0.0001, 1.0]


def test_without_a_grid_there_is_one_cell_with_the_configs_seed():
    (cell,) = plan().cells
    assert (cell.name, cell.seeds, cell.draws, cell.tasks) == ("as it is", (7,), (0,), ("cola",))


def test_bundled_cells_meet_every_combination_of_the_grid(tmp_path):
    text = """{cells: [{settings: {eval_steps: 2, max_steps: 9}}, {settings: {eval_steps: 3, max_steps: 8}}],
               seeds: [1, 2]}"""
    made = load_plan(write(tmp_path, text), Changes(files=BASE, grid={"optim.lr.prompt": [0.1, 0.2]}))
    assert given(made, "eval_steps", "max_steps", "optim.lr.prompt") == [
        (2, 9, 0.1), (2, 9, 0.2), (3, 8, 0.1), (3, 8, 0.2),
    ]  # fmt: skip
    assert made.cells[0].name == "eval_steps=2, max_steps=9, prompt=0.1" and made.cells[0].seeds == (1, 2)


def test_a_commands_grid_and_seeds_replace_the_files_and_its_flags_stand_above_the_cells(tmp_path):
    file = write(
        tmp_path, "{grid: {max_steps: [9, 8], bf16: [true]}, seeds: [1, 2], cells: [{settings: {eval_steps: 3}}]}"
    )
    made = load_plan(file, Changes(BASE, {"eval_steps": 4}, {"max_steps": [7]}, seeds=[5]))
    assert (given(made, "max_steps", "bf16", "eval_steps"), made.cells[0].seeds) == ([(7, True, 4)], (5,))


def test_a_few_shot_task_has_three_draws_unless_told_otherwise():
    assert plan(files=FEW).cells[0].draws == (0, 1, 2) and plan(files=FEW, draws=[4]).cells[0].draws == (4,)
    runs = make_schedule([plan(files=FEW, seeds=[1, 2])], Path("x")).runs.values()
    assert [(run.config.seed, run.config.task.draw) for run in runs] == [(s, d) for s in (1, 2) for d in (0, 1, 2)]


def test_all_cells_come_before_the_second_seed():
    runs = make_schedule([plan("optim.lr.prompt=0.1,0.2", seeds=[1, 2])], Path("x")).runs.values()
    assert [(run.config.seed, run.config.optim.lr["prompt"]) for run in runs] == [
        (1, 0.1),
        (1, 0.2),
        (2, 0.1),
        (2, 0.2),
    ]


def test_keys_are_told_by_their_last_word_where_that_is_enough():
    assert label({"optim.lr.prompt": 0.3, "max_steps": 2}) == "prompt=0.3, max_steps=2"
    assert label({"adapter.name": "pt", "task.name": "x"}) == "adapter.name=pt, task.name=x"


@pytest.mark.parametrize(
    ("axes", "changes", "message"),
    [
        (["optm.lr.prompt=1"], {}, "optm: wanted a setting, .* Did you mean 'optim'"),
        (["optim.epss=1"], {}, "optim.epss.* Did you mean 'eps'"),
        (["optim.lr.promt=1,2"], {}, "cell promt=1: .* Did you mean 'prompt'"),
        (["max_steps"], {}, "--grid: wanted key=value,value,..., given 'max_steps'"),
        (["max_steps="], {}, "--grid: wanted key=value"),
        (["max_steps=[1"], {}, "--grid: wanted key=value"),
        (["seed=1,2"], {}, "seed: wanted seeds for it"),
        (["task.draw=1,2"], {}, "task.draw: wanted draws"),
        (["task.eval_split=val,test"], {}, "another task.eval_split are not validated alike"),
        (["optim.lr.prompt=0.5,5e-1"], {}, "wanted each cell once, given prompt=0.5 twice"),
        ([], {"seeds": [1, 2, 1]}, "seeds: wanted each once, given 1 twice"),
        ([], {"draws": [1, 2]}, "draws: wanted a few-shot task"),
        ([], {"flags": {"seed": 3}}, "--seed: wanted seeds"),
        (["max_steps=1,2"], {"files": {"task": {"name": "cola"}}}, "eval_steps: wanted more than 0"),
    ],
)  # fmt: skip
def test_a_contradictory_grid_is_refused_with_its_reason(axes, changes, message):
    with pytest.raises(BadPlan, match=message):
        plan(*axes, **changes)


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        ("max_steps=ten,2", "cell max_steps=ten: "),
        ("logging_steps=0,2", "cell logging_steps=0: .*wanted at least 1"),
    ],
)
def test_a_value_that_a_setting_cannot_take_is_refused_with_its_cell(axis, message):
    with pytest.raises(BadPlan, match=message):
        make_schedule([plan(axis)], Path("x"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", r"wanted keys and values, given \[1, 2\]"),
        ("{grids: {}}", "unknown key grids, .* Did you mean 'grid'"),
        ("{grid: {max_steps: 3}}", "grid: wanted .*, given {'max_steps': 3}"),
        ("{cells: []}", "cells: wanted a list"),
        ("{cells: [3]}", "cell 1: wanted keys and values, given 3"),
        ("{seeds: [one]}", "seeds: wanted a list of whole numbers"),
        ("{grid: {", "wanted a YAML file"),
        (
            "{grid: {max_steps: [1]}, cells: [{settings: {max_steps: 2}}]}",
            "in cells or in grid, given max_steps in both",
        ),
        ("{stop: {}}", "stop: wanted steps or seconds"),
        ("{pick: best}", "pick: wanted one of best on validation, given 'best'"),
    ],
)
def test_a_bad_file_is_refused_with_its_reason(tmp_path, text, message):
    with pytest.raises(BadPlan, match=message):
        load_plan(write(tmp_path, text), Changes(files=BASE))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadPlan, match="none.yaml: wanted a YAML file"):
        load_plan(tmp_path / "none.yaml")


SOURCES = """
tasks: [shapes-rte]
seeds: [1, 2]
cells:
  - {name: source, tasks: [shapes-qnli, shapes-boolq], seeds: [1]}
  - {name: alone}
  - {name: from, needs: source}
  - {name: chosen, needs: {cell: source, task: shapes-qnli}}
"""


def test_a_cell_may_start_from_every_task_of_a_source(tmp_path):
    made = load_plan(write(tmp_path, SOURCES), Changes(files={"eval_steps": 5}))
    assert [cell.name for cell in made.compared()] == ["alone", "from: shapes-qnli", "from: shapes-boolq", "chosen"]
    schedule = make_schedule([made], Path("x"))
    runs = {place.cell: schedule.runs[place.run] for place in schedule.places["mine"] if place.seed == 1}
    sources = {cell: run.after.partition("_")[0] for cell, run in runs.items() if run.after}
    assert sources == {
        "from: shapes-qnli": "shapes-qnli",
        "from: shapes-boolq": "shapes-boolq",
        "chosen": "shapes-qnli",
    }


CHAIN = """
tasks: [shapes-rte]
seeds: [1, 2]
experiment: {adapter: {name: mpt, args: {num_virtual_tokens: 4}}}
cells:
  - name: teacher
    tasks: [shapes-qnli, shapes-boolq]
    settings: {adapter: {name: pt, args: {num_virtual_tokens: 4}}}
  - name: taught
    tasks: [shapes-qnli, shapes-boolq]
    sources: teacher
    settings: {task: {mixture: [shapes-boolq, shapes-qnli]}}
  - {name: target, needs: taught}
  - {name: one, needs: {cell: taught, task: shapes-qnli}}
"""


def test_teachers_stand_in_the_order_of_a_mixture_whose_tasks_have_short_names(tmp_path):
    text = CHAIN.replace("shapes-qnli", "cb").replace("shapes-boolq", "boolq")
    made = load_plan(write(tmp_path, text), Changes(files={"eval_steps": 5}))
    runs = make_schedule([made], tmp_path).runs
    [taught, *_] = [each for each in runs.values() if each.config.task.mixture]
    assert [runs[name].config.task.name for name in taught.sources] == ["superglue-boolq", "superglue-cb"]


def test_the_costs_of_a_cell_with_sources_are_those_of_its_first_run(tmp_path):
    made = load_plan(write(tmp_path, "measure: [score, costs]\n" + CHAIN), Changes(files={"eval_steps": 5}))
    schedule, found = make_schedule([made], tmp_path), cost_runs(made, tmp_path)
    run = next(place.run for place in schedule.places["mine"] if place.cell == "taught")
    assert set(found) == {"teacher", "taught", "target", "one"} and found["taught"] == schedule.runs[run]
    assert found["target"].config.adapter.start.get("from") is None, "its start changes no cost"
    assert costs_path(made, tmp_path).name == costs_path(made, tmp_path / "elsewhere").name, "folders name no costs"


def test_cells_may_form_a_chain_and_a_mixture_is_one_source(tmp_path):
    """Teachers in the order of the mixture, of the same seed; then a run that starts from what they taught."""
    made = load_plan(write(tmp_path, CHAIN), Changes(files={"eval_steps": 5}))
    assert [cell.name for cell in made.compared()] == ["target", "one"]
    schedule = make_schedule([made], tmp_path)
    order, places = list(schedule.runs), schedule.places["mine"]
    assert len(order) == 2 * (2 + 1 + 2)
    for seed in (1, 2):
        of = {(place.cell, place.task): schedule.runs[place.run] for place in places if place.seed == seed}
        teachers = [of["teacher", name] for name in ("shapes-boolq", "shapes-qnli")]
        taught = of["taught", "shapes-qnli"]
        assert taught is of["taught", "shapes-boolq"] and taught.sources == tuple(each.name for each in teachers)
        assert taught.config.adapter.start["sources"] == [str(each.folder) for each in teachers]
        assert taught.waits_for == taught.sources and taught.config.seed == seed
        target, one = of["target", "shapes-rte"], of["one", "shapes-rte"]
        assert target.after == one.after == taught.name and target.name != one.name
        assert target.config.adapter.start["from"] == str(taught.folder)
        assert one.config.adapter.start["from"] == str(taught.folder / "shapes-qnli")
        assert order.index(target.name) > order.index(taught.name) > max(order.index(each.name) for each in teachers)
    elsewhere = make_schedule([made], tmp_path / "elsewhere")
    assert list(elsewhere.runs) == order, "folders do not name a run"
    text = CHAIN.replace("tokens: 4}}}\n  - name: taught", "tokens: 5}}}\n  - name: taught")
    other = load_plan(write(tmp_path, text), Changes(files={"eval_steps": 5}))
    names = {place.cell: place.run for place in make_schedule([other], tmp_path).places["mine"]}
    mine = {place.cell: place.run for place in places}
    assert all(names[cell] != mine[cell] for cell in names), "another teacher makes other runs down the chain"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "sources: teacher",
            "sources: teachers",
            r"cell taught: sources: wanted a cell of mine before it, teacher, given",
        ),
        ("needs: taught}", "needs: one}", "cell target: needs: wanted a cell of mine before it, .*, given 'one'"),
        ("sources: teacher", "sources: {cell: teacher, seed: 3}", "cell taught: sources: wanted a cell with a run for"),
    ],
)
def test_a_link_to_what_is_not_there_is_refused(old, new, message, tmp_path):
    with pytest.raises(BadPlan, match=message):
        load_plan(write(tmp_path, CHAIN.replace(old, new)), Changes(files={"eval_steps": 5}))


@pytest.mark.parametrize("name", ["mpt", "attempt"])
def test_the_plans_of_several_tasks_have_as_many_runs_as_their_heads_say(name):
    path = PLANS / f"{name}.yaml"
    schedule = make_schedule([load_plan(path)], Path("runs/none"))
    (said,) = re.findall(r"= (\d+) runs for each seed", " ".join(path.read_text().replace("#", "").split()))
    assert len(schedule.runs) == int(said)
    for run in schedule.runs.values():
        assert run.after or run.sources or check(run.config) is None
        wanted = run.config.adapter.args.get("num_sources", len(run.sources))
        assert len(run.sources) == wanted and len(run.config.adapter.start.get("sources") or ()) == wanted


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.name)
def test_each_grid_of_the_papers_opens_with_its_source_and_its_size(path):
    made = load_plan(path, Changes(files={"eval_steps": 5}))
    head = "".join(line for line in path.read_text().splitlines(keepends=True) if line.startswith("#"))
    assert "et al. 2023" in head or "Lipani 2024" in head
    cells, seeds = len(made.cells), len(made.cells[0].seeds)
    assert f"{cells} cells x {seeds} seeds = {cells * seeds} runs" in " ".join(head.split())


def test_the_papers_grids_are_those_printed():
    made = load_plan(PLANS / "dept.yaml", Changes(files={"eval_steps": 5}))
    assert given(made, "optim.lr.prompt", "optim.lr.low_rank") == [
        (prompt, low) for prompt in (0.3, 0.4, 0.5) for low in (1e-4, 5e-4, 1e-3, 5e-3)
    ]
    lengths = [sizes(cell) for cell in load_plan(PLANS / "dept_lengths.yaml", Changes(files={"eval_steps": 5})).cells]
    assert [each["num_virtual_tokens"] for each in lengths] == [20, 40, 60, 80]
    assert all(dept_size(d_model=768, **each) == 100 * 768 for each in lengths)


def sizes(cell):
    return cell.settings["adapter"]["args"]
