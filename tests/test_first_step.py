"""What a run has imported when it takes its first step: torch, accelerate, transformers and itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dept_vl.run.execute import run

REPOSITORY = Path(__file__).resolve().parent.parent
LATER = (
    "bitsandbytes", "datasets", "deepspeed", "gguf", "matplotlib", "nltk", "open_clip", "pandas", "peft", "pyarrow",
    "rouge_score", "scipy.stats", "sklearn", "timm",
)  # fmt: skip
"""Each takes half a second or more to import, and no run with stored features needs one before its first step."""
UNTIL_THE_FIRST_STEP = """
import sys
from dept_vl.train.engine import Engine

def step(engine, norm):
    print("first step", *sorted({each for each in sys.argv[2].split() if each in sys.modules}))
    sys.stdout.flush()
    os._exit(0)

import os
Engine.step = step
from dept_vl.cli import train
train.main(["--config", sys.argv[1]], "vqa")
"""


@pytest.mark.usefixtures("afresh")
def test_a_run_whose_features_are_stored_imports_nothing_more_before_its_first_step(experiment, tmp_path):
    config = experiment("first", max_steps=1, eval_steps=0)
    run(config)  # which stores the features
    file = tmp_path / "again.yaml"
    file.write_text(yaml.safe_dump({**config.to_dict(), "output_dir": str(tmp_path / "again")}))
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [sys.executable, "-c", UNTIL_THE_FIRST_STEP, str(file), " ".join(LATER)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1:] == ["first step"], done.stdout + done.stderr[-3000:]
