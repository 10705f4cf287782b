"""What a system without fcntl and resource (Windows) cannot do says so where it is asked for, and nothing else stops.

That adapters load and predict there is in tests/scripts/test_predict.py.
"""

import os
import re
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from dept_vl.run.measure import peak_memory
from dept_vl.untrusted import folder_lock, whole_files
from dept_vl.untrusted.folder_lock import NoLocks, only_run
from dept_vl.untrusted.whole_files import remove_abandoned, write_files_whole

REPOSITORY = Path(__file__).resolve().parent.parent
POSIX = {
    "crypt",
    "fcntl",
    "grp",
    "nis",
    "posix",
    "pty",
    "pwd",
    "readline",
    "resource",
    "spwd",
    "syslog",
    "termios",
    "tty",
}


def test_no_module_imports_at_its_top_what_one_system_lacks():
    """Under `try` or in a function it may."""
    top = re.compile(rf"^(?:import|from) (?:{'|'.join(POSIX)})\b", re.MULTILINE)
    assert top.search("import os\nimport fcntl\n") and not top.search("try:\n    import fcntl\n")
    files = [path for folder in ("dept_vl", "scripts", "benchmarks") for path in (REPOSITORY / folder).rglob("*.py")]
    assert len(files) > 100
    assert [path for path in files if top.search(path.read_text(encoding="utf-8"))] == []


@pytest.fixture
def windows(monkeypatch):
    for module in (folder_lock, whole_files):
        monkeypatch.setattr(module, "fcntl", None)
    monkeypatch.setitem(sys.modules, "resource", None)


def test_files_are_written_whole_without_locks(windows, tmp_path, monkeypatch):
    opened, rename = [], os.replace
    real_open = Path.open
    monkeypatch.setattr(Path, "open", lambda *given, **more: opened.append(real_open(*given, **more)) or opened[-1])

    def replace(source, target):
        assert all(file.closed for file in opened), "Windows renames no open file"
        rename(source, target)

    monkeypatch.setattr(os, "replace", replace)
    write_files_whole(tmp_path / "folder", {"a": b"1", "b": b"2"}, key="a")
    assert (tmp_path / "folder" / "a").read_bytes() + (tmp_path / "folder" / "b").read_bytes() == b"12"
    (tmp_path / ".b.1.tmp").write_bytes(b"another writer's")
    remove_abandoned(tmp_path)
    assert (tmp_path / ".b.1.tmp").exists()


def test_training_and_its_peak_memory_name_the_systems_that_they_want(windows, tmp_path):
    with pytest.raises(NoLocks, match="run: wanted Linux or macOS, .* given .* adapters load and predict"):
        with only_run(tmp_path / "run"):
            pass
    with pytest.raises(OSError, match="peak memory of a process: wanted Linux or macOS"):
        peak_memory(torch.device("cpu"))


def test_the_classifiers_name_the_systems_on_which_everything_runs():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    systems = [each for each in project["classifiers"] if each.startswith("Operating System")]
    assert systems == ["Operating System :: MacOS", "Operating System :: POSIX :: Linux"]
