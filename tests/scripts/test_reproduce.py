"""scripts/reproduce.py with a run that trains nothing: what it runs, prints, reads again and refuses."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

from dept_vl.run import resolve

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "reproduce.py"


@pytest.fixture
def script(monkeypatch):
    """The script; `ran` lists the experiments that it ran, each of which scores 3 of 4."""
    spec = importlib.util.spec_from_file_location("reproduce_script", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)

    def run(config):
        script.ran.append(config)
        scores = dict.fromkeys(("accuracy", "f1_macro", "f1", "matthews_correlation", "pearson"), 0.75)
        results = {
            "metrics": {"test": {**scores, "warnings": ["scored 4 of the 28 rows of the split"]}},
            "run_info": {"train_config": resolve(config).to_dict()},
        }
        folder = Path(config.output_dir)
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps(results))

    script.ran = []
    monkeypatch.setattr(script, "run", run)
    return script


@pytest.fixture
def say(script, tmp_path, capsys):
    """say(*argv): what is printed, its runs in tmp_path."""

    def say(*argv):
        script.main([*map(str, argv), "--output_dir", str(tmp_path)])
        return capsys.readouterr().out

    return say


def refused(say, *argv):
    with pytest.raises(SystemExit) as stop:
        say(*argv)
    return str(stop.value.code)


def test_one_cell_is_run_and_printed_beside_the_paper(say, script, tmp_path):
    said = say("--table", 1, "--method", "dept", "--task", "cb")
    (config,) = script.ran
    assert (config.task.name, config.seed, config.adapter.name) == ("superglue-cb", 42, "dept")
    assert (config.optim.lr, config.metric_for_best_model) == ({"prompt": 0.4, "low_rank": 1e-4}, "f1_macro")
    assert config.output_dir == str(tmp_path / "dept/table1_dept/superglue-cb_seed42")
    line = next(line for line in said.splitlines() if line.startswith("superglue-cb "))
    wanted = "superglue-cb accuracy paper 92.86 ours 75.00 -17.86 points = -5.0 of 28 items"
    assert " ".join(line.split()) == wanted
    assert "superglue-cb_seed42: scored 4 of the 28 rows" in said
    assert "SuperGLUE" not in said, "one cell has no mean, and does not print the whole table"


def test_what_is_finished_is_not_run_again(say, script):
    first = say("--table", 1, "--method", "dept", "--task", "cb")
    assert say("--table", 1, "--method", "dept", "--task", "cb") == first and len(script.ran) == 1
    with pytest.raises(ValueError, match="other settings"):
        say("--table", 1, "--method", "dept", "--task", "cb", "--max_steps", 600)


def test_a_whole_table_stands_beside_the_rows_that_are_not_ours(say, script):
    said = say("--table", 2, "--bf16", "--max_steps", 600).splitlines()
    assert len(script.ran) == 16 and all(each.bf16 and each.max_steps == 600 for each in script.ran)
    assert "dept/table2_dept.yaml with --bf16 --max_steps 600" in said
    found = {line.split()[0]: " ".join(line.split()) for line in reversed(said) if " paper " in line}
    assert found["MRQA"] == "MRQA mean paper 73.0 ours 75.00 +2.00 points"
    assert found["nq"] == "nq f1 paper 73.21 ours 75.00 +1.79 points = +229.8 of 12,836 items"
    lora, *rest = [line for line in said if line.startswith(("| LoRA", "| dept", "| pt"))]
    assert (
        lora == "| LoRA (3.8M) | 72.4 | 62.3 | 72.5 | 56.9 | 66.0 | 58.2 | 97.1 | 94.7 | 94.0 | 86.0 | not run here |"
    )
    assert [line.rpartition("| ")[0].split()[1] for line in rest] == ["dept", "dept", "pt", "pt"]
    assert rest[0].startswith("| dept | 73.2 | 76.8 |") and rest[0].endswith("| 86.3 | the paper |")
    assert rest[1] == f"| dept |{' 75.00 |' * 10} ours |"


def test_seeds_and_k_choose_the_runs(say, script):
    say("--table", 4, "--method", "pt", "--task", "scitail", "--k", 16, "--seeds", 1, 2)
    assert [(each.seed, each.task.draw) for each in script.ran] == [(s, d) for s in (1, 2) for d in (0, 1, 2)]
    assert {each.task.k_shot for each in script.ran} == {8}


def test_flags_may_stand_behind_two_dashes(say, script, tmp_path):
    script.main(
        ["--table", "1", "--method", "pt", "--task", "cola", "--output_dir", str(tmp_path), "--", "--max_steps", "700"]
    )
    assert script.ran[0].max_steps == 700


def test_without_arguments_a_dry_run_checks_every_row_and_runs_none(say, script, monkeypatch):
    (one,) = say("--dry-run", "--paper", "dpt", "--table", 1, "--method", "residual_pt_t5_small").splitlines()
    assert one == "dpt table 1 residual_pt_t5_small: 8 cells, 24 runs, as_published_dpt: good"
    # each row is checked in tests/reproduction; here, that all of them come to the check
    monkeypatch.setattr(
        script.reproduction, "check_rows", lambda rows: [f"{row.paper} {row.path.stem}" for row in rows]
    )
    papers = SCRIPT.parents[1] / "configs" / "paper"
    wanted = [f"{path.parent.name} {path.stem}" for path in sorted(papers.glob("*/table*.yaml"))]
    assert say("--dry-run").splitlines() == wanted and len(wanted) == 29
    assert script.ran == []


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--table", 1, "--method", "depd"], "depd: wanted a row of dept, pt .* Did you mean 'dept'"),
        (["--table", 3, "--method", "dept"], "dept: scripts/train_vqa.py --config configs/paper/vqa_dept.yaml"),
        (["--table", 1, "--method", "pt", "--task", "paws"], "pt: wanted a row of dept, pt with such a cell"),
    ],
)
def test_what_is_not_here_is_told(argv, message, say):
    assert re.search(message, refused(say, *argv))


def test_impossible_commands_are_refused(say, capsys):
    refused(say)
    assert "wanted --table, or --dry-run to check all of them" in capsys.readouterr().err
    with pytest.raises(ValueError, match="unknown task 'colla'.* Did you mean 'cola'"):
        say("--table", 1, "--task", "colla")
    with pytest.raises(ValueError, match="--seed: wanted the command's own --seeds"):
        say("--table", 1, "--task", "cola", "--seed", 3)
    with pytest.raises(ValueError, match="wanted --adapter.init_from"):
        say("--table", 4, "--method", "dept", "--k", 4)
    refused(say, "--table", 1, "--task", "cola", "--max_stepz", 3)
    assert "unrecognized arguments: --max_stepz" in capsys.readouterr().err
