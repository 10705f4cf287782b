"""scripts/reproduce.py --table with runs that train nothing: what it runs, prints, reads again and refuses."""

import json
import shutil
from pathlib import Path

import pytest

from dept_vl.plans import papers
from dept_vl.plans.runs import StaleRun
from dept_vl.plans.settings import BadPlan

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def say(tmp_path):
    """say(*argv): what is printed, its runs in tmp_path; `ran` lists the experiments, each of which scores 3 of 4."""

    def work(config):
        say.ran.append(config)
        scores = dict.fromkeys(("accuracy", "f1_macro", "f1", "matthews_correlation", "pearson"), 0.75)
        results = {
            "metrics": {"test": {**scores, "warnings": ["scored 4 of the 28 rows of the split"]}},
            "run_info": {"train_config": config.to_dict()},
        }
        folder = Path(config.output_dir)
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps(results))

    def say(*argv, **how):
        lines = []
        papers.main([*map(str, argv), "--output_dir", str(tmp_path)], lines.append, work=work, **how)
        return "\n".join(line for line in lines if not line.startswith("run "))

    say.ran = []
    return say


def test_one_cell_is_run_and_printed_beside_the_paper(say, tmp_path):
    said = say("--table", 1, "--method", "dept", "--task", "cb")
    (config,) = say.ran
    assert (config.task.name, config.seed, config.adapter.name) == ("superglue-cb", 42, "dept")
    assert (config.optim.lr, config.metric_for_best_model) == ({"prompt": 0.4, "low_rank": 1e-4}, "f1_macro")
    line = next(line for line in said.splitlines() if line.startswith("superglue-cb "))
    wanted = "superglue-cb accuracy paper 92.86 ours 75.00 -17.86 points = -5.0 of 28 items"
    assert " ".join(line.split()) == wanted
    assert f"{config.output_dir}: scored 4 of the 28 rows" in said and config.output_dir.startswith(str(tmp_path))
    assert "SuperGLUE" not in said, "one cell has no mean, and does not print the whole table"


def test_a_multi_task_row_is_run_once_and_each_task_stands_beside_its_number(say):
    said = say("--table", 1, "--method", "hyperformer", "--task", "mrpc")
    (config,) = say.ran
    assert config.task.mixture[0] == "mnli" and config.inside.args["num_tasks"] == 8
    assert config.task.sampling.tasks_per_batch == (1, 1) and config.metric_for_best_model is None
    assert "mrpc accuracy paper 87.2 ours 75.00" in " ".join(said.split())


def test_what_is_finished_is_not_run_again(say):
    first = say("--table", 1, "--method", "dept", "--task", "cb")
    again = say("--table", 1, "--method", "dept", "--task", "cb", "--logging_steps", 3)
    assert first.splitlines()[-2:] == again.splitlines()[-2:] and len(say.ran) == 1
    say("--table", 1, "--method", "dept", "--task", "cb", "--max_steps", 600)
    assert len(say.ran) == 2, "another run, with a folder of its own"
    path = Path(say.ran[0].output_dir) / "results.json"
    results = json.loads(path.read_text())
    results["run_info"]["train_config"]["max_steps"] = 5
    path.write_text(json.dumps(results))
    with pytest.raises(StaleRun, match="max_steps 5, wanted"):
        say("--table", 1, "--method", "dept", "--task", "cb")


def test_a_whole_table_stands_beside_the_rows_that_are_not_ours(say, tmp_path):
    """Of the real rows three, since each cell takes 0.1 s."""
    folder = tmp_path / "configs" / "paper" / "dept"
    shutil.copytree(REPOSITORY / "configs" / "paper" / "dept", folder, ignore=shutil.ignore_patterns("table*"))
    for name in ("table2_dept", "table2_lora", "table2_mpt"):
        shutil.copy(REPOSITORY / "configs" / "paper" / "dept" / f"{name}.yaml", folder)
    flags = ("--bf16", "--max_steps", 600)
    said = say("--table", 2, "--seeds", 42, *flags, configs=tmp_path / "configs").splitlines()
    assert all(each.bf16 and each.max_steps == 600 for each in say.ran)
    assert [each.inside.name or each.adapter.name for each in say.ran] == ["dept"] * 8 + ["lora"] * 8
    assert "dept/table2_dept.yaml with --bf16 --max_steps 600" in said
    (left_out,) = [line for line in said if line.startswith("left out: ")]
    assert "table2_mpt.yaml: wanted --adapter.start.from" in left_out
    assert any(line.startswith("| BitFit (280K) | single-task | 70.7 |") for line in said)
    found = {line.split()[0]: " ".join(line.split()) for line in reversed(said) if " paper " in line}
    assert found["MRQA"] == "MRQA mean paper 73.0 ours 75.00 +2.00 points"
    assert found["nq"] == "nq f1 paper 73.21 ours 75.00 +1.79 points = +229.8 of 12,836 items"
    dept, our_dept, lora, our_lora = [line for line in said if line.startswith(("| lora", "| dept"))]
    assert dept.startswith("| dept | single-task | 73.2 | 76.8 |") and dept.endswith("| 86.3 | the paper |")
    assert our_dept == f"| dept | single-task |{' 75.00 |' * 10} ours |"
    numbers = "72.4 | 62.3 | 72.5 | 56.9 | 66.0 | 58.2 | 97.1 | 94.7 | 94.0 | 86.0"
    assert lora == f"| lora (3.8M) | single-task | {numbers} | the paper |"
    assert our_lora == our_dept.replace("dept", "lora")
    assert any(line.startswith("| mpt (77.6K) | single-task, from source tasks | 72.0 |") for line in said)


def test_seeds_and_k_choose_the_runs(say):
    say("--table", 4, "--method", "pt", "--task", "scitail", "--k", 16, "--seeds", 1, 2)
    assert [(each.seed, each.task.draw) for each in say.ran] == [(s, d) for s in (1, 2) for d in (0, 1, 2)]
    assert {each.task.k_shot for each in say.ran} == {8}


def test_without_arguments_a_dry_run_checks_every_row_and_runs_none(say, monkeypatch):
    (one,) = say("--dry-run", "--paper", "dpt", "--table", 1, "--method", "residual_pt_t5_small").splitlines()
    assert one == "dpt table 1 residual_pt_t5_small: 8 cells, 24 runs, as_published_dpt: good"
    # each row is checked in test_row_runs; here, that all of them come to the check
    monkeypatch.setattr(papers, "check_rows", lambda rows: [f"{row.paper} {row.path.stem}" for row in rows])
    folder = REPOSITORY / "configs" / "paper"
    wanted = [f"{path.parent.name} {path.stem}" for path in sorted(folder.glob("*/table*.yaml"))]
    assert say("--dry-run").splitlines() == wanted and len(wanted) > 29
    assert say.ran == []


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--table", 1, "--method", "depd"], "depd: wanted a row of adapter, .*dept, full.* Did you mean 'dept'"),
        (["--table", 3, "--method", "P-Tuning"], "P-Tuning: --method vl_p_tuning"),
        (["--table", 4, "--method", "HyperFormer"], "HyperFormer: --method hyperformer"),
        (["--table", 1, "--method", "pt", "--task", "paws"], "pt: wanted a row of adapter, .*, spot with such a cell"),
    ],
)
def test_what_is_not_here_is_told(argv, message, say):
    with pytest.raises(BadPlan, match=message):
        say(*argv)


def test_impossible_commands_are_refused(say, capsys, monkeypatch):
    for argv, message in (([], "wanted --table, or --dry-run"), (["--table", 1, "--max_stepz", 3], "--max_stepz")):
        with pytest.raises(SystemExit):
            say(*argv)
        assert message in capsys.readouterr().err
    for argv, message in (
        (["--table", 1, "--task", "colla"], "unknown task 'colla'.* Did you mean 'cola'"),
        (["--table", 1, "--task", "cola", "--seed", 3], "--seed: wanted seeds"),
        (["--table", 4, "--method", "dept", "--k", 4], "wanted --adapter.start.from"),
    ):
        with pytest.raises(ValueError, match=message):
            say(*argv)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadPlan, match="wanted one process"):
        say("--table", 1, "--task", "cola")
    assert not say.ran
