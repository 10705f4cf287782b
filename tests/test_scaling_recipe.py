"""The Slurm script of docs/scaling.md, run against stand-ins for Slurm's commands and for accelerate."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCONTROL = "echo gpu-07\necho gpu-12\n"
SRUN = """
[ "$1" = --kill-on-bad-exit=1 ] || exit 2
shift
for node in 0 1; do SLURM_NODEID=$node "$@" || exit; done
"""
ACCELERATE = 'printf "%s\\n" "--- $SLURM_NODEID" "$@" >> said\n'


@pytest.fixture
def submit(tmp_path):
    """Runs the script as Slurm would on two machines; returns what each of them launches."""
    [script] = re.findall(r"^```bash\n(#!/bin/bash\n.*?)^```", (ROOT / "docs/scaling.md").read_text(), re.M | re.S)
    (tmp_path / "train.sbatch").write_text(script)
    for name, text in {"scontrol": SCONTROL, "srun": SRUN, ".venv/bin/accelerate": ACCELERATE}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{text}")
        path.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        **{"SLURM_JOB_NODELIST": "gpu-[07,12]", "SLURM_NNODES": "2", "SLURM_JOB_ID": "4711"},
    }

    def submit():
        (tmp_path / "said").unlink(missing_ok=True)
        subprocess.run([shutil.which("bash"), "train.sbatch"], cwd=tmp_path, env=environment, check=True, timeout=20)
        return [each.split("\n")[1:-1] for each in (tmp_path / "said").read_text().split("--- ")[1:]]

    return submit


def value(words, flag):
    return words[words.index(flag) + 1]


def test_each_machine_launches_its_share_of_one_run(submit):
    first, second = submit()
    for number, words in enumerate((first, second)):
        assert words[0] == "launch" and value(words, "--machine_rank") == str(number)
        assert (value(words, "--num_machines"), value(words, "--num_processes")) == ("2", "8")
        assert (value(words, "--main_process_ip"), value(words, "--main_process_port")) == ("gpu-07", "24711")
    assert [a for a, b in zip(first, second, strict=True) if a != b] == ["0"]


def test_the_script_resumes_when_there_is_a_checkpoint(submit, tmp_path):
    assert all("--resume_from_checkpoint" not in words for words in submit())
    (tmp_path / "runs/vqa/checkpoints/step_500").mkdir(parents=True)
    assert all(words[-2:] == ["--resume_from_checkpoint", "last"] for words in submit())


def test_what_the_script_names_is_there_and_is_understood(submit):
    from accelerate.commands.launch import launch_command_parser

    from dept_vl.config import parse_experiment

    given = launch_command_parser().parse_args(submit()[1][1:])
    assert (given.machine_rank, given.num_processes, given.training_script) == (1, 8, "scripts/train_vqa.py")
    assert (ROOT / given.config_file).is_file() and (ROOT / given.training_script).is_file()
    words = [str(ROOT / word) if word.startswith("configs/") else word for word in given.training_script_args]
    config = parse_experiment(words, description="", defaults=[])
    assert config.save_steps == 500 and config.output_dir == "runs/vqa"
