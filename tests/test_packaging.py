"""What a stranger's first minute rests on: declared dependencies, make targets and the files shipped."""

import ast
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

REPOSITORY = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
DEPENDENCIES = PROJECT["project"]["dependencies"]
EXTRAS = PROJECT["project"]["optional-dependencies"]
CONSTRAINTS = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
ACCELERATE_CONFIGS = sorted((REPOSITORY / "configs" / "accelerate").glob("*.yaml"))
FILE_LIMIT = 8 * 2**20  # bytes of one file in git
WEIGHTS_LIMIT = 12 * 10**6  # bytes of all shipped weights together
# Written in two halves, so that this file passes its own test.
REGISTRY_HOSTS = [
    ".".join(halves)
    for halves in (
        ("pypi", "org"),
        ("files.pythonhosted", "org"),
        ("download.pytorch", "org"),
        ("conda.anaconda", "org"),
        ("registry.npmjs", "org"),
        ("deb.debian", "org"),
    )
]


@pytest.fixture(scope="module")
def files() -> list[Path]:
    """Every file that git tracks or would track."""
    if not (REPOSITORY / ".git").exists() or shutil.which("git") is None:
        pytest.skip("skipped: no git, or no checkout of it")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True).stdout.decode()
    return [path for name in listed.split("\0") if name and (path := REPOSITORY / name).is_file()]


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make as a person would, also when the tests themselves run below make."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )


def test_conda_installs_what_pip_installs() -> None:
    conda = yaml.safe_load((REPOSITORY / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    assert conda[-1] == {"pip": DEPENDENCIES}
    assert f"python{PROJECT['project']['requires-python']}" in conda


@pytest.mark.parametrize("line", [*DEPENDENCIES, *(line for extra in EXTRAS.values() for line in extra)])
def test_each_dependency_has_a_lower_and_an_upper_bound(line: str) -> None:
    requirement = Requirement(line)
    bounds = {clause.operator for clause in requirement.specifier}
    assert requirement.name == PROJECT["project"]["name"] or bounds >= {">=", "<"}


def test_constraints_are_names_and_versions_within_the_declared_ranges() -> None:
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line) for line in CONSTRAINTS)
    held = {canonicalize_name(name): version for name, version in (line.split("==") for line in CONSTRAINTS)}
    assert len(held) == len(CONSTRAINTS)
    for line in [*DEPENDENCIES, *EXTRAS["dev"]]:
        requirement = Requirement(line)
        assert requirement.specifier.contains(held[canonicalize_name(requirement.name)]), line


def test_lower_bounds_are_those_of_every_package_that_is_asked_for() -> None:
    lower_bounds = runpy.run_path(str(REPOSITORY / ".ci" / "lower_bounds.py"))["lower_bounds"]
    found = list(lower_bounds((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")))
    asked = [Requirement(line) for line in [*DEPENDENCIES, *sum(EXTRAS.values(), [])]]
    bounds = {each.name: clause.version for each in asked for clause in each.specifier if clause.operator == ">="}
    assert found == [f"{name}=={version}" for name, version in bounds.items()]


@pytest.mark.parametrize("refused", [False, True])
def test_setup_says_when_it_cannot_have_the_versions_that_were_tested(tmp_path: Path, refused: bool) -> None:
    pip, told = tmp_path / "pip", tmp_path / "told"
    refuse = "case $* in *--constraint*) exit 1;; esac\n" if refused else ""
    pip.write_text(f'#!/bin/sh\necho "$*" >> {told}\n{refuse}', encoding="utf-8")
    pip.chmod(0o755)
    result = make("setup", f"PIP={pip}", f"VENV={tmp_path}")
    assert result.returncode == 0, result.stderr
    installed = [line for line in told.read_text(encoding="utf-8").splitlines() if "--editable" in line]
    plain = "install --editable .[dev]"
    constrained = "install --constraint constraints.txt --editable .[dev]"
    assert installed == ([constrained, plain] if refused else [constrained])
    assert result.stderr.count("\n") == result.stderr.count("constraints.txt") == int(refused)


def test_setup_fails_where_pip_does(tmp_path: Path) -> None:
    pip = tmp_path / "pip"
    pip.write_text('#!/bin/sh\ntest "$1" = --version\n', encoding="utf-8")
    pip.chmod(0o755)
    assert make("setup", f"PIP={pip}", f"VENV={tmp_path}").returncode != 0
    assert not (tmp_path / ".installed").exists()


def test_strict_makes_every_warning_an_error_and_newest_takes_no_constraints() -> None:
    assert make("-n", "test-strict").stdout.rstrip().endswith("-W error")
    assert "--constraint" not in make("-n", "test-newest").stdout


def test_no_build_of_torch_is_chosen_for_the_machine() -> None:
    recipe = make("-n", "-B", "setup").stdout
    assert not re.search(r"\+cpu|index-url|find-links", "\n".join([*DEPENDENCIES, recipe]))


def test_the_version_stands_in_one_place_and_the_changelog_opens_with_it() -> None:
    assert "version" not in PROJECT["project"] and PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "dept_vl.__version__"}
    source = (REPOSITORY / "dept_vl" / "__init__.py").read_text(encoding="utf-8")
    [version] = re.findall(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    changes = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[(.+?)\]", changes, re.MULTILINE)[0] == str(Version(version))


def third_party(file: Path) -> set[str]:
    """The top names that a file imports from outside the standard library and the package."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(str(node.module).partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"dept_vl"}


HOSTS = {"lmms_eval"}
"""Programs that import a plug-in of ours and do not install beside our versions: no extra can ask for them."""


def test_every_import_is_a_declared_dependency() -> None:
    lines = [*DEPENDENCIES, *(line for name, extra in EXTRAS.items() if name != "dev" for line in extra)]
    declared = {canonicalize_name(Requirement(line).name) for line in lines}
    provided = packages_distributions()
    missing = {
        f"{file.relative_to(REPOSITORY)} imports {name}"
        for folder in ("dept_vl", "scripts")
        for file in (REPOSITORY / folder).rglob("*.py")
        for name in third_party(file) - HOSTS
        if not declared & {canonicalize_name(distribution) for distribution in provided.get(name, [name])}
    }
    assert missing == set()


def test_every_file_of_the_package_is_installed(files: list[Path]) -> None:
    package = REPOSITORY / "dept_vl"
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["dept_vl"]
    shipped = {path for pattern in patterns for path in package.glob(pattern)}
    ours = [path for path in files if path.is_relative_to(package)]
    assert [path for path in ours if path.suffix != ".py" and path not in shipped] == []
    assert {path.suffix for path in files if path.is_relative_to(REPOSITORY / "configs")} == {".yaml"}
    folders = {path.parent for path in ours if path.suffix == ".py"}
    assert {str(folder) for folder in folders if not (folder / "__init__.py").exists()} == set()


def test_no_file_names_a_package_registry(files: list[Path]) -> None:
    hosts = re.compile("|".join(re.escape(host) for host in REGISTRY_HOSTS).encode())
    assert [str(path) for path in files if hosts.search(path.read_bytes())] == []


def test_files_and_weights_stay_small(files: list[Path]) -> None:
    assert [str(path) for path in files if path.stat().st_size > FILE_LIMIT] == []
    assert sum(path.stat().st_size for path in files if path.suffix == ".safetensors") <= WEIGHTS_LIMIT


def test_help_lists_every_target_and_each_has_a_recipe() -> None:
    phony = re.search(r"^\.PHONY: (.+)$", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert phony is not None
    listed = re.findall(r"^  make ([a-z-]+)", make().stdout, re.MULTILINE)
    rules = re.findall(r"^([a-z-]+):(?!=)", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert listed == phony[1].split() == rules
    for target in listed:
        assert make("-n", target).returncode == 0, target


@pytest.mark.parametrize("target", ["quickstart", "caption", "test", "lint"])
def test_each_target_alone_installs_first(target: str) -> None:
    recipe = make("-n", "-B", target).stdout
    assert 0 <= recipe.index("--editable '.[dev]'") < len(recipe) - len(recipe.splitlines()[-1])


def test_an_old_python_is_refused_with_what_is_wanted(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\ntest "$1" = --version && echo Python 3.9.1\n', encoding="utf-8")
    old.chmod(0o755)
    result = make("setup", f"PYTHON={old}", f"VENV={tmp_path / 'absent'}")
    assert result.returncode != 0
    assert f"needs Python 3.11 or newer, and '{old}' is: Python 3.9.1" in result.stderr
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("file", ACCELERATE_CONFIGS, ids=[file.stem for file in ACCELERATE_CONFIGS])
def test_accelerate_reads_each_of_its_configs(file: Path) -> None:
    assert load_config_from_file(str(file)).num_machines == 1
