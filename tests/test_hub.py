"""Names of the hub through its real clients, against a mirror on this machine."""

import json
import os
import subprocess
import sys

import pytest

from tests.data.own_files import ROWS, bytes_of, write_parquet
from tests.hub_mirror import mirror
from tests.tiny_runs import write_byte_causal

READ = """
import json, sys
from pathlib import Path
from dept_vl.backbones import load_backbone
from dept_vl.data.own import load_own_splits
from dept_vl.data.tokenizer import load_tokenizer
from dept_vl.tasks import VqaTask

splits = {"all": ("all", None), "test": ("test", None)}
loaded = load_own_splits("hub:someone/pictures", splits, VqaTask(metric="auto"), cache=Path(sys.argv[1]))
backbone, tokenizer = load_backbone("someone/tiny", kind="causal"), load_tokenizer("someone/tiny")
print(json.dumps({
    "questions": {role: sorted(each.text for each in one.examples) for role, one in loaded.items()},
    "pictures": sorted(path.read_bytes().hex() for path in loaded["all"].image_paths.values()),
    "sha256": backbone.identity()["backbone_sha256"],
    "ids": tokenizer("a red star")["input_ids"],
}))
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """The folder of a mirror with a set of four questions and a model."""
    root = tmp_path_factory.mktemp("hub")
    folder = root / "datasets" / "someone" / "pictures" / "data"
    folder.mkdir(parents=True)
    for name, rows in (("train", ROWS[:3]), ("test", ROWS[3:])):
        rows = [{**row, "image": {"bytes": bytes_of(row), "path": "x.png"}} for row in rows]
        write_parquet(folder / f"{name}-00000-of-00001.parquet", rows)
    write_byte_causal(root / "models" / "someone" / "tiny", "llama")
    return root


def read(tmp_path, **environment):
    known = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE"))}
    home = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path / "cache")],
        env={**known, **home, **environment}, capture_output=True, encoding="utf-8", timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow  # a process that imports everything
def test_a_set_and_a_model_are_fetched_by_their_names(hub, tmp_path):
    with mirror(hub) as (address, asked):
        fetched = read(tmp_path, HF_ENDPOINT=address)
    assert any("resolve" in path and path.endswith("model.safetensors") for path in asked)
    assert any(path.endswith(".parquet") for path in asked)
    questions = [row["question"] for row in ROWS]
    assert fetched["questions"] == {"all": questions, "test": questions[3:]}
    assert fetched["pictures"] == sorted(bytes_of(row).hex() for row in ROWS)
