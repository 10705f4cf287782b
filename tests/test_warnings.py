"""Our own warnings fail a test; a third party's are listed, also where they point at a line of ours."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
THIRD_PARTY = """
import warnings

def old():
    warnings.warn("old() goes", DeprecationWarning, stacklevel=2)  # points at the caller

def odd():
    warnings.warn("odd numbers", RuntimeWarning, stacklevel=2)
"""
CALLER = """
import warnings, numpy, third_party
from dept_vl.registry import DeptVLWarning

def third(): third_party.old(); third_party.odd()
def own(): warnings.warn("a file of yours", DeptVLWarning, stacklevel=2)
def zero(): numpy.ones(1) / numpy.zeros(1)
"""
TEST = """
import pathlib, types, pytest
ours = types.ModuleType("dept_vl.model")  # what warns in it, or points at it, counts as this module of ours
exec(pathlib.Path("caller.py").read_text(), ours.__dict__)

def test_third(): ours.third()
def test_own(): ours.own()
def test_zero(): ours.zero()
def test_expected():
    with pytest.warns(UserWarning, match="of yours"):
        ours.own()
"""


def test_own_warnings_are_errors_and_those_of_a_third_party_are_listed(tmp_path: Path) -> None:
    conftest = "from tests.conftest import pytest_configure"
    sources = {"conftest": conftest, "third_party": THIRD_PARTY, "caller": CALLER, "test_it": TEST}
    for name, source in sources.items():
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-c"]
    command += [REPOSITORY / "pyproject.toml", "--rootdir", tmp_path, tmp_path / "test_it.py"]
    environment = os.environ | {"PYTHONPATH": f"{REPOSITORY}{os.pathsep}{tmp_path}"}
    printed = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False).stdout
    wanted = {"third": "PASSED", "own": "FAILED", "zero": "FAILED", "expected": "PASSED"}
    assert dict(re.findall(r"::test_(\w+) (PASSED|FAILED|ERROR)", printed)) == wanted, printed
    summary = printed.partition("warnings summary")[2]
    assert "DeprecationWarning: old() goes" in summary and "RuntimeWarning: odd numbers" in summary


def test_every_warning_of_the_package_is_of_its_own_class() -> None:
    """A class that the package takes from elsewhere, or none, would escape the filter."""
    others = []
    for path in sorted((REPOSITORY / "dept_vl").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("warnings.warn", "warn"):
                category = ast.unparse(node.args[1]) if len(node.args) > 1 else "none"
                if category not in ("DeptVLWarning", "LearningWarning"):
                    others.append(f"{path.relative_to(REPOSITORY)}:{node.lineno} warns of {category}")
    assert others == []
