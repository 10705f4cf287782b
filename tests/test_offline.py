"""Nothing phones home: runs in which every connection is refused and counted, with HF_HUB_OFFLINE=1 and without."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dept_vl import AdaptedModel
from dept_vl.run.execute import run
from tests.tiny_runs import write_cola

REPOSITORY = Path(__file__).resolve().parent.parent
# What opens a connection is told apart from what only makes a socket: ipc among a process's own threads does that too.
GUARD = """
import socket, sys, threading
tried = []
def refuse(name):
    def refused(*arguments, **keywords):
        tried.append((name, arguments[-1]))
        raise OSError(f"{name}{arguments[-1:]}: no network here")
    return refused
for place, name in ((socket.socket, "connect"), (socket.socket, "connect_ex"), (socket.socket, "sendto"),
                    (socket, "getaddrinfo"), (socket, "gethostbyname"), (socket, "create_connection")):
    setattr(place, name, refuse(name))
"""
END = """
for thread in threading.enumerate():
    if thread is not threading.main_thread() and not thread.daemon:
        thread.join(20)
assert not tried, tried
print("silent")
"""
VQA = """
from pathlib import Path
from dept_vl import AdaptedModel
from dept_vl.config import parse_experiment
from dept_vl.run.execute import run
files = [Path("configs") / name for name in ("backbones/tiny.yaml", "tasks/vqa_shapes.yaml", "adapters/dept.yaml")]
out = sys.argv[1]
config = parse_experiment(
    ["--max_steps", "2", "--eval_steps", "0", "--task.root", sys.argv[2], "--task.max_train_samples", "8",
     "--task.max_test_samples", "4", "--output_dir", f"{out}/run", "--vision.feature_dir", f"{out}/features",
     "--progress", "false", "--logging_steps", "1"],
    description="", defaults=files)
assert "vqa_accuracy" in run(config)["metrics"]["test"]
image = next(Path(sys.argv[2]).rglob("*.jpg"))
assert len(AdaptedModel.from_pretrained(f"{out}/run").answer([image], ["what color is the circle?"])) == 1
"""
TEXT = """
from pathlib import Path
from dept_vl import AdaptedModel
from dept_vl.config import parse_experiment
from dept_vl.run.execute import run
out = sys.argv[1]
config = parse_experiment(
    ["--config", "configs/backbones/tiny.yaml", "--config", "configs/adapters/dept.yaml", "--task", "cola",
     "--task.root", sys.argv[2], "--max_steps", "2", "--eval_steps", "0", "--output_dir", f"{out}/run",
     "--progress", "false", "--logging_steps", "1"],
    description="", defaults=[])
assert run(config)["metrics"]["test"]
assert len(AdaptedModel.from_pretrained(f"{out}/run").classify(["The cats sleep."])) == 1
"""


def _alone(program: str, *arguments: Path, offline: bool) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    environment |= {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    environment |= {"HF_HUB_OFFLINE": "1"} if offline else {}
    return subprocess.run(
        [sys.executable, "-c", GUARD + program + END, *map(str, arguments)],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("offline", [True, False], ids=["HF_HUB_OFFLINE=1", "by default"])
@pytest.mark.parametrize("task", ["vqa", "text"])
def test_a_run_from_data_to_prediction_opens_no_connection(tmp_path, place, task, offline):
    if task == "vqa":
        done = _alone(VQA, tmp_path, place / "shapes", offline=offline)
    else:
        done = _alone(TEXT, tmp_path, write_cola(tmp_path / "data"), offline=offline)
    assert done.returncode == 0 and done.stdout.endswith("silent\n"), done.stderr[-3000:]


def test_training_and_loading_open_no_connection(experiment, afresh, monkeypatch):
    tried = []

    def refuse(*arguments, **keywords):
        tried.append(arguments)
        raise OSError("no network here")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    config = experiment(max_steps=2, eval_steps=0)
    run(config)
    folders = {"backbone": config.backbone.model_name_or_path, "vision": config.vision.model_name}
    AdaptedModel.from_pretrained(config.output_dir, **folders)
    assert tried == []


@pytest.mark.parametrize("call", ["socket.create_connection(('192.0.2.1', 80))", "socket.getaddrinfo('a.example', 80)"])
def test_the_guard_sees_a_connection_that_is_tried_and_swallowed(call):
    done = _alone(f"\ntry: {call}\nexcept OSError: pass\n", offline=False)
    assert done.returncode == 1 and "AssertionError" in done.stderr
