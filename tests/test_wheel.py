"""The built sdist and wheel, used as by somebody who has no checkout: an environment of its own, an empty folder."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

import dept_vl

REPOSITORY = Path(__file__).resolve().parent.parent
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("build") is None, reason="skipped: no package build"),
    pytest.mark.skipif(find_spec("setuptools") is None, reason="skipped: no package setuptools"),
]
# Only the processes of one run may speak to each other.
NO_NETWORK = """
import socket
def refuse(place, name):
    real = getattr(place, name)
    def refused(*arguments, **keywords):
        if not any(str(host) in str(arguments[:2]) for host in ("127.0.0.1", "localhost", "::1")):
            raise SystemExit(f"{name}{arguments[-1:]}: no network here")
        return real(*arguments, **keywords)
    setattr(place, name, refused)
for place, name in ((socket.socket, "connect"), (socket, "create_connection"), (socket, "getaddrinfo")):
    refuse(place, name)
"""
SMALL = [
    "--max_steps", "6", "--eval_steps", "0", "--logging_steps", "1", "--task.max_train_samples", "48",
    "--task.max_eval_samples", "8", "--task.max_test_samples", "8", "--num_threads", "1",
]  # fmt: skip
VQA_TEST = ["--task", "vqa", "--root", "data/shapes", "--split", "test", "--limit", "8"]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """dist/ with sdist and wheel, the wheel made of the sdist, from a copy of what git has."""
    folder = tmp_path_factory.mktemp("source")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "dept_vl", "configs"]
    names = subprocess.run(listed, cwd=REPOSITORY, capture_output=True, check=True).stdout.decode().split("\0")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", *filter(None, names)):
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--skip-dependency-check"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder / "dist"


@pytest.fixture(scope="module")
def environment(built, tmp_path_factory) -> Path:
    """A virtual environment with the wheel, whose dependencies are this one's; nobody may write into it."""
    folder = tmp_path_factory.mktemp("apart") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    below = [path for path in sys.path if path.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(below) + "\n")
    (site / "sitecustomize.py").write_text(NO_NETWORK)
    [wheel] = built.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--no-deps", "--no-index"]
    done = subprocess.run([*pip, wheel], capture_output=True, text=True, env=_alone(folder))
    assert done.returncode == 0, done.stderr
    for path in [site, *site.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    return folder


def _alone(home: Path) -> dict[str, str]:
    """Variables of a process that inherits nothing from the tests'."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {
        **kept, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
        "ACCELERATE_USE_CPU": "true",
    }  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """The empty folder in which everything is done."""
    return tmp_path_factory.mktemp("empty")


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Where libraries keep their own settings and caches."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def do(environment, place, home):
    """Run a program of the environment in the empty folder; returns what it printed."""

    def do(program: str, *words: str, status: int = 0) -> str:
        command = [str(environment / "bin" / program), *words]
        done = subprocess.run(command, cwd=place, env=_alone(home), capture_output=True, text=True, timeout=300)
        assert done.returncode == status, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout if not status else done.stderr

    return do


def contents(folder: Path) -> dict[str, float]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def test_wheel_and_sdist_hold_the_package_and_its_configs_and_nothing_else(built):
    [wheel], [sdist] = built.glob("*.whl"), built.glob("*.tar.gz")
    assert wheel.name == f"dept_vl-{dept_vl.__version__}-py3-none-any.whl"
    names = zipfile.ZipFile(wheel).namelist()
    assert {"dept_vl/py.typed", "dept_vl/configs/tasks/vqa_shapes.yaml", "dept_vl/cli/train.py"} <= set(names)
    assert {name.partition("/")[0] for name in names} == {"dept_vl", f"dept_vl-{dept_vl.__version__}.dist-info"}
    configs = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "configs").rglob("*.yaml")}
    assert {f"dept_vl/{name}" for name in configs} == {name for name in names if name.endswith(".yaml")}
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert configs | {"setup.py", "pyproject.toml", "README.md", "LICENSE"} <= inside


def test_the_command_is_the_wheels(do, environment, place):
    assert do("dept-vl", "--version") == f"dept-vl {dept_vl.__version__}\n"
    where = "import dept_vl, dept_vl.config as c; print(dept_vl.__file__, *c.config_files('tasks/vqa_shapes.yaml'))"
    assert all(path.startswith(str(environment)) for path in do("python", "-c", where).split())
    assert "dept" in json.loads(do("dept-vl", "methods", "--json"))["methods"]
    assert do("dept-vl", "train", "--max_step", "3", status=2).startswith("dept-vl train: error: ")
    assert "error: nothing: " in do("dept-vl", "predict", "--adapter", "nothing", "--image", "x.png", status=1)
    listed = json.loads(do("dept-vl", "plan", "configs/plans/equal_steps.yaml", "--dry-run", "--json"))
    assert listed["plan"] == "equal_steps" and listed["wanted"]
    assert not list(place.iterdir())


def test_it_trains_and_predicts_and_writes_into_the_folder_alone(do, environment, place):
    before = contents(environment)
    [line] = do("dept-vl", "train", "vqa", "--json", *SMALL).splitlines()
    run = json.loads(line)
    assert run["folder"] == "runs/vqa_shapes" and run["metrics"]["test"]["vqa_accuracy"] >= 0
    image = sorted((place / "data/shapes/images").iterdir())[0]
    asked = ["--image", str(image), "--question", "What color is the circle?"]
    [answered] = do("dept-vl", "predict", "--adapter", "runs/vqa_shapes", *asked).splitlines()
    assert json.loads(answered)["answer"]
    stored = json.loads(do("dept-vl", "features", "check", "--json"))
    assert stored[0]["images"] and not stored[0]["damaged"]
    scored = json.loads(do("dept-vl", "evaluate", "--adapter", "runs/vqa_shapes", *VQA_TEST))
    assert 0 <= scored["vqa_accuracy"] <= 1
    assert contents(environment) == before
    assert {path.name for path in place.iterdir()} == {"data", "runs"}


def test_the_module_trains_under_accelerate_as_the_script_does(do, place):
    launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    task = ["--task", "shapes-rte", *SMALL]
    do("python", *launch, "-m", "dept_vl", "train", "text", *task, "--output_dir", "runs/module")
    script = str(REPOSITORY / "scripts" / "train_text.py")
    do("python", *launch, script, *task, "--output_dir", "runs/script")
    logs = [(place / "runs" / name / "metrics.jsonl").read_text().splitlines() for name in ("module", "script")]
    losses = [[json.loads(line).get("loss") for line in log] for log in logs]
    assert losses[0] == losses[1] and len([loss for loss in losses[0] if loss]) >= 6
