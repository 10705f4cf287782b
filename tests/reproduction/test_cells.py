"""From a cell to a run: what is merged over what, what the check refuses, what is run and what is not run again."""

from pathlib import Path

import pytest
import yaml

from dept_vl.reproduction import BadFlag, BadTableFile, StaleRun, check_rows, experiment_of, load_rows, run_cell
from dept_vl.reproduction.cells import check_row
from dept_vl.run import resolve
from dept_vl.tasks import TASKS

PAPERS = Path(__file__).resolve().parents[2] / "configs" / "paper"
ROWS = [row for paper in ("dept", "dpt", "fpt") for row in load_rows(PAPERS, paper)]


@pytest.fixture
def finish(row, fake_run, tmp_path):
    """finish(row, cell, **more): the folders of a cell's runs, run by `fake_run` where they are not there."""

    def finish(table=None, number=0, **more):
        table = table or row()
        done = run_cell(table, table.cells[number], run=fake_run, output_dir=tmp_path / "runs", **more)
        return [path.relative_to(tmp_path / "runs").as_posix() for path, _ in done]

    return finish


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.paper}-{row.path.stem}")
def test_every_cell_of_the_papers_fits_the_task_registry(row):
    assert check_row(row).endswith(": good")


@pytest.mark.parametrize("row", [row for row in ROWS if row.table in (4, 5)], ids=lambda row: row.path.stem)
def test_k_in_all_is_drawn_as_k_shot_of_each_class(row):
    for cell in row.cells:
        task = TASKS[cell.task]
        classes = len(task.label_names) or 2  # STS-B counts as two
        assert cell.settings["task"]["k_shot"] == cell.k // classes, cell.label
    assert row.draws == (0, 1, 2) and experiment_of(row, row.cells[0], 42, 2).task.draw == 2


def test_a_cell_lies_over_its_row_and_flags_over_both(row, tmp_path):
    table = row()
    cola, cb = (experiment_of(table, cell, 7, 0, output_dir=tmp_path) for cell in table.cells)
    assert (cola.max_steps, cb.max_steps, cola.optim.lr, cb.optim.lr) == (30, 40, {"prompt": 0.3}, {"prompt": 0.4})
    assert (cola.optim.eps, cola.backbone.dropout, cb.metric_for_best_model) == (1e-7, True, "f1_macro")
    assert (cb.task.name, cb.task.protocol, cb.seed) == ("superglue-cb", "as_published", 7)
    assert cb.output_dir == str(tmp_path / "dept/table1_pt/superglue-cb_seed7")
    file = tmp_path / "mine.yaml"
    file.write_text("max_steps: 50\noptim: {eps: 1.0e-5, warmup_steps: 3}\n")
    flags = ["--config", str(file), "--bf16", "--optim.warmup_steps", "4"]
    changed = experiment_of(table, table.cells[1], 7, 0, output_dir=tmp_path, flags=flags)
    assert (changed.max_steps, changed.optim.eps, changed.optim.warmup_steps, changed.bf16) == (50, 1e-5, 4.0, True)
    assert (changed.optim.lr, changed.task, changed.output_dir) == (cb.optim.lr, cb.task, cb.output_dir)


@pytest.mark.parametrize("flags", [["--seed", "1"], ["--output_dir=x"], ["--task.name", "sst2"], ["--task.draw", "1"]])
def test_what_the_row_keeps_for_itself_is_no_flag(flags, row):
    with pytest.raises(BadFlag, match=f"{flags[0].partition('=')[0]}: wanted the command's own --seeds"):
        experiment_of(row(), row().cells[0], 42, 0, flags=flags)


def test_a_file_does_not_change_the_task(row, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("task: {name: sst2}")
    with pytest.raises(BadFlag, match="task.name: wanted cola, the cell's, given sst2"):
        experiment_of(row(), row().cells[0], 42, 0, flags=["--config", str(file)])


CELL = {"task": "cola", "published": {"matthews_correlation": 63.8}, "items": 522}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "colla"}, "cell colla: unknown task 'colla': .* Did you mean 'cola'"),
        (
            {"published": {"matthews_corelation": 1}},
            "cell cola: wanted a metric of matthews.*, given 'matthews_corelation'. Did you mean",
        ),
        ({"logged": {"accuracyy": 1}}, "given 'accuracyy'. Did you mean 'accuracy'"),
        ({"items": 521}, "cell cola: items: wanted the 522 of the test split under as_published, given 521"),
        ({"task": "vqa", "settings": {"task": {"protocol": "always"}}}, "cell vqa: "),
        ({"settings": {"task": {"protocol": "as_publishd"}}}, "cell cola: .*'as_publishd'"),
        ({"settings": {"metric_for_best_model": "f1"}}, "cell cola: metric_for_best_model: wanted one of matthews"),
        ({"settings": {"adapter": {"num_virtual_tokens": 0}}}, "cell cola: .*num_virtual_tokens"),
        ({"settings": {"adapter": {"name": "dept", "r": 2, "max_length": 8}}}, "cell cola: optim.lr: .*low_rank"),
        ({"settings": {"max_steps": "many"}}, "cell cola: wanted an experiment .*max_steps"),
        ({"settings": {"max_steps": 5}}, "cell cola: wanted an experiment .*warmup_steps"),
    ],
)
def test_a_cell_that_cannot_be_run_is_told_with_its_file(changes, message, row):
    table = row(cells=[{**CELL, **changes}], means=None)
    with pytest.raises(BadTableFile, match=message) as error:
        check_rows([table])
    assert str(error.value).startswith(f"{table.path}: ")


def test_all_rows_are_checked_before_anything_is_said(row):
    good, bad = row(), [row(f"table1_pt_{n}", cells=[{**CELL, "items": n}], means=None) for n in (1, 2)]
    assert check_rows([good]) == ["dept table 1 pt: 2 cells, 2 runs, as_published: good"]
    with pytest.raises(BadTableFile, match=r"(?s)table1_pt_1.yaml: .*given 1\n.*table1_pt_2.yaml: .*given 2"):
        check_rows([bad[0], good, bad[1]])


def test_a_cell_runs_once_for_each_seed_and_draw(row, finish, fake_run):
    shots = {**CELL, "k": 4, "settings": {"task": {"k_shot": 2}}}
    table = row("table4_pt", table=4, cells=[shots], means=None, seeds=[5, 6], draws=[0, 3])
    names = [f"dept/table4_pt/cola_k4_draw{draw}_seed{seed}" for seed in (5, 6) for draw in (0, 3)]
    assert finish(table) == names
    assert [(each.seed, each.task.draw) for each in fake_run.configs] == [(5, 0), (5, 3), (6, 0), (6, 3)]
    assert finish(table, seeds=[9]) == ["dept/table4_pt/cola_k4_draw0_seed9", "dept/table4_pt/cola_k4_draw3_seed9"]


def test_a_finished_cell_is_not_run_again(finish, fake_run):
    assert finish() == finish() == ["dept/table1_pt/cola_seed42"]
    assert len(fake_run.configs) == 1
    finish(flags=["--logging_steps", "3", "--progress", "false"])  # these change no score
    assert len(fake_run.configs) == 1


def test_a_begun_cell_goes_on_from_its_last_checkpoint(finish, fake_run, tmp_path):
    (tmp_path / "runs/dept/table1_pt/cola_seed42/checkpoints/step_10").mkdir(parents=True)
    finish()
    finish(number=1)
    assert [each.resume_from_checkpoint for each in fake_run.configs] == ["last", None]
    finish()
    assert len(fake_run.configs) == 2


def test_a_finished_cell_of_other_settings_does_not_pass_for_this_one(finish):
    finish(flags=["--max_steps", "9", "--optim.lr.prompt", "0.5"])
    message = (
        r"cola_seed42: holds a run with other settings \(max_steps 9, wanted 30; optim.lr.prompt 0.5, wanted 0.3\)"
    )
    with pytest.raises(StaleRun, match=message):
        finish()


def test_a_source_run_has_to_be_given(row, finish, fake_run):
    table = row(given=["adapter.init_from"])
    with pytest.raises(BadFlag, match="table1_pt.yaml: wanted --adapter.init_from"):
        finish(table)
    assert fake_run.configs == []
    finish(table, flags=["--adapter.init_from", "runs/source"])
    assert fake_run.configs[0].adapter.init_from == "runs/source"


def test_several_processes_are_refused_since_the_batch_is_for_one(finish, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadFlag, match="wanted one process"):
        finish()


def test_what_a_task_decides_is_compared_as_decided(row, finish):
    """A finished run's config names the protocol and the lengths that the cell leaves to its task."""
    finish()
    config = experiment_of(row(), row().cells[0], 42, 0)
    assert config.task.max_source_length is None and resolve(config).task.max_source_length == 256
    assert finish() == ["dept/table1_pt/cola_seed42"]


def test_the_backbones_of_the_rows_are_the_published_ones():
    names = {}
    for path in (PAPERS.parent / "backbones").glob("*.yaml"):
        backbone = yaml.safe_load(path.read_text())["backbone"]
        names[path.stem] = (backbone["model_name_or_path"], backbone.get("kind"), backbone.get("pad_token"))
    assert names["t5_base"] == ("google-t5/t5-base", "seq2seq", None)
    assert names["t5_v1_1_large_lm_adapt"] == ("google/t5-large-lm-adapt", "seq2seq", None)
    assert names["gpt2_medium"] == ("openai-community/gpt2-medium", "causal", "<|endoftext|>")
    assert names["llama2_13b"] == ("meta-llama/Llama-2-13b-hf", "causal", "</s>")
    assert set(names) >= {"t5_small", "t5_large", "t5_3b", "t5_11b", "gpt2", "gpt2_large", "llama2_7b"}
