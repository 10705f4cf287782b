"""One study with real runs, in processes of their own, as `--fast` does them all."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_fast_study_trains_measures_and_draws(tmp_path):
    words = ["--study", "dept_table8", "--fast", "--output_dir", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "scripts/reproduce.py"), *words],
        cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "4 of 4 results" in done.stdout and "ms: ratio" in done.stdout
    assert (tmp_path / "out/figures/dept_table8.png").is_file() and not (tmp_path / "docs").exists()
