"""What guards the repository outside the suite: the hooks before a commit, the forge's workflow, the container file."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
HOOKS = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
WORKFLOW = yaml.safe_load((REPOSITORY / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
TESTED = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").split()
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")


def test_the_hooks_are_local_and_check_with_the_version_that_the_suite_was_tested_with():
    assert [repo["repo"] for repo in HOOKS] == ["local"]
    installed = {each for hook in HOOKS[0]["hooks"] for each in hook.get("additional_dependencies", ())}
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", each) for each in installed)
    assert {each for each in installed if each.startswith("ruff")} <= set(TESTED)


def test_the_workflow_runs_what_the_repository_runs_on_every_python():
    matrix = WORKFLOW["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == ["3.11", "3.12", "3.13", "3.14"] and matrix["target"] == ["test-newest", "test-oldest"]
    steps = [step["run"] for job in WORKFLOW["jobs"].values() for step in job["steps"] if "run" in step]
    assert steps == [".ci/run ${{ matrix.target }}", "make lint types docs"]
    targets = {*matrix["target"], *(each["target"] for each in matrix["include"]), *steps[1].split()[1:]}
    assert all(re.search(rf"^{target}:", MAKEFILE, re.MULTILINE) for target in targets)


@pytest.mark.parametrize(("words", "target"), [([], "test"), (["test-oldest"], "test-oldest")])
def test_the_script_of_continuous_integration_makes_the_target_that_it_is_given(words, target, tmp_path):
    make = tmp_path / "make"
    make.write_text('#!/bin/sh\necho "$@"\nexit 2\n')
    make.chmod(0o755)
    done = subprocess.run(
        [REPOSITORY / ".ci" / "run", *words], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, f"--no-print-directory {target}\n")


def test_the_container_file_passes_its_linter():
    beside = Path(sys.executable).parent / "hadolint"
    hadolint = beside if beside.exists() else shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("skipped: no hadolint, which installs as a package on Linux x86-64 alone")
    done = subprocess.run([hadolint, "Dockerfile"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_what_the_container_file_copies_goes_into_its_build():
    kept = re.findall(r"^!(.+)$", (REPOSITORY / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    assert {"dept_vl", "configs", "pyproject.toml", "setup.py", "README.md", "LICENSE", "constraints.txt"} == {*kept}
    assert all((REPOSITORY / name).exists() for name in kept)


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_container_builds_and_runs_the_command(device):
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "info"], capture_output=True).returncode != 0:
        pytest.skip("skipped: no docker, or none that answers")
    build = [docker, "build", "--quiet", "--tag", f"dept-vl-test:{device}", "--build-arg", f"DEVICE={device}", "."]
    subprocess.run(build, cwd=REPOSITORY, check=True, timeout=3600)
    done = subprocess.run(
        [docker, "run", "--rm", f"dept-vl-test:{device}", "--version"], capture_output=True, text=True
    )
    assert done.stdout.startswith("dept-vl "), done.stderr
