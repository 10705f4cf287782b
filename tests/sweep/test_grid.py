"""From a file and flags to cells, seeds, draws and the runs that they make; what is refused, and how."""

import dataclasses
from pathlib import Path

import pytest

from dept_vl.adapters.budget import dept_size
from dept_vl.config import BadConfig, Experiment, TaskConfig
from dept_vl.sweep.grid import BadSweep, describe, label, make_grid, planned_runs, with_values

CONFIG = Experiment(eval_steps=5, seed=7)
FEW_SHOT = dataclasses.replace(CONFIG, task=TaskConfig("cola", k_shot=16))
FILES = sorted((Path(__file__).resolve().parents[2] / "configs" / "sweeps").glob("*.yaml"))


def write(folder: Path, text: str) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(text)
    return path


def test_a_grid_is_the_product_of_its_axes_in_their_order():
    grid = make_grid(CONFIG, grid=["optim.lr.prompt=0.3,0.4", "max_steps=10,20"], seeds=[1, 2])
    assert grid.cells == (
        {"optim.lr.prompt": 0.3, "max_steps": 10}, {"optim.lr.prompt": 0.3, "max_steps": 20},
        {"optim.lr.prompt": 0.4, "max_steps": 10}, {"optim.lr.prompt": 0.4, "max_steps": 20},
    )  # fmt: skip
    assert (grid.seeds, grid.draws) == ((1, 2), None)


def test_values_get_the_type_of_their_setting():
    """YAML reads 1e-4 as a text."""
    grid = make_grid(CONFIG, grid=["optim.lr.low_rank=1e-4,1"])
    assert [cell["optim.lr.low_rank"] for cell in grid.cells] == [0.0001, 1.0]
    assert make_grid(CONFIG, grid=["optim.max_grad_norm=null,2"]).cells[0] == {"optim.max_grad_norm": None}


def test_without_a_grid_there_is_one_cell_the_config_itself():
    grid = make_grid(CONFIG, seeds=[4])
    (planned,) = planned_runs(CONFIG, grid, Path("study"))
    assert grid.cells == ({},)
    assert planned.name == "seed4"
    assert planned.config == dataclasses.replace(CONFIG, seed=4, output_dir="study/seed4")


def test_without_seeds_the_config_has_the_only_one():
    assert make_grid(CONFIG).seeds == (7,)


def test_bundled_cells_meet_every_combination_of_the_grid(tmp_path):
    file = write(tmp_path, "{cells: [{adapter.r: 2, max_steps: 9}, {adapter.r: 3, max_steps: 8}], seeds: [1, 2]}")
    grid = make_grid(CONFIG, file=file, grid=["optim.lr.prompt=0.1,0.2"])
    told = [(cell["adapter.r"], cell["max_steps"], cell["optim.lr.prompt"]) for cell in grid.cells]
    assert told == [(2, 9, 0.1), (2, 9, 0.2), (3, 8, 0.1), (3, 8, 0.2)]
    assert grid.seeds == (1, 2)


def test_flags_replace_what_the_file_says(tmp_path):
    file = write(tmp_path, "{grid: {max_steps: [9, 8], adapter.r: [2]}, seeds: [1, 2]}")
    grid = make_grid(CONFIG, file=file, grid=["max_steps=7"], seeds=[5])
    assert (grid.cells, grid.seeds) == (({"max_steps": 7, "adapter.r": 2},), (5,))


def test_a_few_shot_task_has_three_draws_unless_told_otherwise():
    assert make_grid(FEW_SHOT).draws == (0, 1, 2)
    assert make_grid(FEW_SHOT, draws=[4]).draws == (4,)
    runs = planned_runs(FEW_SHOT, make_grid(FEW_SHOT, seeds=[1, 2]), Path("study"))
    assert [(run.config.seed, run.config.task.draw) for run in runs] == [(s, d) for s in (1, 2) for d in (0, 1, 2)]
    assert runs[4].name == "seed2_draw1"


def test_a_folder_name_tells_the_cell_and_the_seed_and_no_two_are_alike():
    names = ["google-t5/t5-base", "google-t5 t5-base", "x" * 300, "x" * 301]
    axis = "backbone.model_name_or_path=" + ",".join(f'"{name}"' for name in names)
    runs = planned_runs(CONFIG, make_grid(CONFIG, grid=[axis, "optim.lr.prompt=0.3"], seeds=[1, 2]), Path("study"))
    assert runs[0].name == "01_model_name_or_path=google-t5_t5-base_prompt=0.3_seed1"
    assert len({run.name for run in runs}) == len(runs) and max(len(run.name) for run in runs) < 140
    assert [run.config.backbone.model_name_or_path for run in runs] == names * 2


def test_keys_are_told_by_their_last_word_where_that_is_enough():
    assert label({"optim.lr.prompt": 0.3, "adapter.r": 2}) == "prompt=0.3, r=2"
    assert label({"adapter.name": "pt", "task.name": "x"}) == "adapter.name=pt, task.name=x"


def test_a_cell_changes_its_settings_alone():
    changed = with_values(CONFIG, {"optim.lr.low_rank": 0.25, "adapter.r": 4})
    assert (changed.optim.lr, changed.adapter.r) == ({**CONFIG.optim.lr, "low_rank": 0.25}, 4)
    assert with_values(changed, {"optim.lr.low_rank": CONFIG.optim.lr["low_rank"], "adapter.r": None}) == CONFIG
    assert with_values(CONFIG, {}) == CONFIG


def test_values_that_fit_only_together_are_put_in_together():
    changed = with_values(CONFIG, {"max_steps": 2, "optim.warmup_steps": 1.0})
    assert (changed.max_steps, changed.optim.warmup_steps) == (2, 1.0)
    late = dataclasses.replace(CONFIG, optim=dataclasses.replace(CONFIG.optim, warmup_steps=100.0))
    with pytest.raises(BadConfig, match="warmup_steps"):
        with_values(late, {"max_steps": 2})
    assert with_values(late, {"max_steps": 2, "optim.warmup_steps": 0.5}).max_steps == 2


@pytest.mark.parametrize(
    ("config", "arguments", "message"),
    [
        (CONFIG, {"grid": ["optm.lr.prompt=1"]}, "unknown key 'optm.lr.prompt': wanted one of .* Did you mean 'optim'"),
        (CONFIG, {"grid": ["optim.lr=1"]}, "unknown key 'optim.lr': optim.lr is of type dict"),
        (CONFIG, {"grid": ["max_steps.x=1"]}, "unknown key 'max_steps.x'"),
        (CONFIG, {"grid": ["adapter=pt"]}, "adapter: wanted a setting, given a group of name, num_virtual_tokens"),
        (CONFIG, {"grid": ["optim.lr.promt=1"]}, "cell promt=1: .*unknown group 'promt'.* Did you mean 'prompt'"),
        (CONFIG, {"grid": ["max_steps=ten"]}, "cell max_steps=ten: "),
        (CONFIG, {"grid": ["max_steps=0"]}, "cell max_steps=0: .*wanted at least 1"),
        (CONFIG, {"grid": ["max_steps"]}, "--grid: wanted key=value,value,..., given 'max_steps'"),
        (CONFIG, {"grid": ["max_steps="]}, "--grid: wanted key=value"),
        (CONFIG, {"grid": ["max_steps=[1"]}, "--grid: wanted key=value"),
        (CONFIG, {"grid": ["seed=1,2"]}, "seed: wanted --seeds for it"),
        (CONFIG, {"grid": ["task.draw=1,2"]}, "task.draw: wanted --draws"),
        (CONFIG, {"grid": ["task.eval_split=val,test"]}, "another task.eval_split are not validated alike"),
        (CONFIG, {"grid": ["task.k_shot=4,16"]}, "wanted a study for each value"),
        (CONFIG, {"grid": ["optim.lr.prompt=0.5,5e-1"]}, "cells: wanted each once, given {'optim.lr.prompt': 0.5} twi"),
        (CONFIG, {"seeds": [1, 2, 1]}, "seeds: wanted each once, given 1 twice"),
        (CONFIG, {"draws": [1, 2]}, "draws: wanted a few-shot task"),
        (dataclasses.replace(CONFIG, eval_steps=0), {"grid": ["max_steps=1,2"]}, "eval_steps: wanted more than 0"),
        (CONFIG, {"grid": ["eval_steps=0,2"]}, "eval_steps: wanted more than 0"),
        (dataclasses.replace(CONFIG, resume_from_checkpoint="last"), {}, "resume_from_checkpoint: wanted none"),
    ],
)  # fmt: skip
def test_a_contradictory_sweep_is_refused_with_its_reason(config, arguments, message):
    with pytest.raises(BadSweep, match=message):
        make_grid(config, **arguments)


def test_a_single_cell_needs_no_validation():
    assert len(make_grid(dataclasses.replace(CONFIG, eval_steps=0), seeds=[1, 2, 3]).cells) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "wanted keys of grid, cells, seeds, draws, given \\[1, 2\\]"),
        ("{grids: {}}", "unknown key 'grids', wanted grid, cells, seeds, draws. Did you mean 'grid'"),
        ("{grid: {max_steps: 3}}", "grid.max_steps: wanted a list of values, given 3"),
        ("{grid: {}}", "wanted grid to be a filled dict"),
        ("{cells: [3]}", "cells: wanted keys with a value each, given 3"),
        ("{seeds: [one]}", "seeds: wanted whole numbers"),
        ("{grid: {", "wanted a sweep file, given something else"),
        ("{grid: {adapter.r: [1]}, cells: [{adapter.r: 2}]}", "in cells or in grid, given adapter.r in both"),
    ],
)
def test_a_bad_file_is_refused_with_its_reason(tmp_path, text, message):
    with pytest.raises(BadSweep, match=message):
        make_grid(CONFIG, file=write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadSweep, match="none.yaml: wanted a sweep file"):
        make_grid(CONFIG, file=tmp_path / "none.yaml")


def test_a_study_is_the_same_whatever_seed_folder_and_rate_the_config_had():
    grid = make_grid(CONFIG, grid=["optim.lr.prompt=0.1,0.2"], seeds=[1])
    other = with_values(
        dataclasses.replace(CONFIG, seed=9, output_dir="x", progress=False, num_threads=1), {"optim.lr.prompt": 0.9}
    )
    assert describe(CONFIG, grid) == describe(other, grid)
    for key, value in (("optim.lr.low_rank", 0.9), ("max_steps", 9), ("adapter.r", 9)):
        assert describe(with_values(CONFIG, {key: value}), grid) != describe(CONFIG, grid)
    assert describe(CONFIG, make_grid(CONFIG, grid=["optim.lr.prompt=0.1"], seeds=[1])) != describe(CONFIG, grid)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_sweep_file_fits_the_schema_and_opens_with_its_source_and_its_command(path):
    grid = make_grid(CONFIG, file=path)
    assert len(grid.cells) > 1 and len(grid.seeds) == 3
    head = "".join(line for line in path.read_text().splitlines(keepends=True) if line.startswith("#"))
    assert "et al. 2023" in head or "Lipani 2024" in head
    runs = len(planned_runs(CONFIG, grid, Path("study")))
    assert f"{len(grid.cells)} cells x {len(grid.seeds)} seeds = {runs} runs" in " ".join(head.split())


def test_the_papers_grids_are_there():
    assert {path.stem for path in FILES} >= {"dept", "dept_lengths", "dpt_bottleneck", "dpt_lengths"}
    cells = make_grid(CONFIG, file=FILES[0].with_name("dept.yaml")).cells
    assert [(cell["optim.lr.prompt"], cell["optim.lr.low_rank"]) for cell in cells] == [
        (prompt, low) for prompt in (0.3, 0.4, 0.5) for low in (1e-4, 5e-4, 1e-3, 5e-3)
    ]


def test_every_length_of_dept_costs_a_hundred_prompt_tokens():
    cells = make_grid(CONFIG, file=FILES[0].with_name("dept_lengths.yaml")).cells
    assert [cell["adapter.num_virtual_tokens"] for cell in cells] == [20, 40, 60, 80]
    for cell in cells:
        sizes = {key.removeprefix("adapter."): value for key, value in cell.items()}
        assert dept_size(d_model=768, **sizes) == 100 * 768
