"""What is made once of a file: by its content, whole, and by one process at a time."""

import multiprocessing
import shutil

import pytest

from dept_vl.untrusted.converted import RECORD, cache_root, converted, find_converted


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("DEPT_VL_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "model.bin"
    path.write_bytes(b"first")
    return path


def copy(source, folder):
    shutil.copy(source, folder / "copy")


def refuse(source, folder):
    raise AssertionError("made twice")


def test_a_folder_is_made_once_for_a_content_wherever_the_file_lies(source, tmp_path):
    folder = converted(source, "kind", copy)
    assert (folder / "copy").read_bytes() == b"first"
    moved = tmp_path / "elsewhere" / "model.bin"
    moved.parent.mkdir()
    source.rename(moved)
    assert converted(moved, "kind", refuse) == folder


def test_another_content_under_the_same_name_gets_a_folder_of_its_own(source):
    first = converted(source, "kind", copy)
    source.write_bytes(b"second")
    second = converted(source, "kind", copy)
    assert first != second
    assert [(each / "copy").read_bytes() for each in (first, second)] == [b"first", b"second"]
    assert find_converted("kind", "model.bin") == second
    assert find_converted("kind", "other.bin") is None
    assert find_converted("other kind", "model.bin") is None


def test_nothing_is_left_of_a_conversion_that_fails(source):
    def fail(source, folder):
        copy(source, folder)
        raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        converted(source, "kind", fail)
    left = [path for path in cache_root().rglob("*") if path.is_file()]
    assert [path.suffix for path in left] == [".lock"]
    assert (converted(source, "kind", copy) / "copy").exists()


def test_what_a_killed_process_left_is_made_anew(source):
    folder = converted(source, "kind", copy)
    half = folder.with_name(f".{folder.name}.half")
    folder.rename(half)
    (half / "rubbish").write_bytes(b"cut")
    again = converted(source, "kind", copy)
    assert sorted(path.name for path in again.iterdir()) == sorted(["copy", RECORD])


def test_a_folder_without_its_record_is_made_anew(source):
    folder = converted(source, "kind", copy)
    (folder / RECORD).unlink()
    (folder / "copy").write_bytes(b"cut")
    assert (converted(source, "kind", copy) / "copy").read_bytes() == b"first"


def test_two_processes_make_a_folder_once(source, tmp_path):
    log = tmp_path / "log"

    def slow(source, folder):
        with log.open("a") as file:
            file.write("made\n")
        copy(source, folder)

    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=converted, args=(source, "kind", slow)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert log.read_text() == "made\n"


def test_the_cache_is_the_users_unless_told(monkeypatch, tmp_path):
    monkeypatch.delenv("DEPT_VL_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "dept_vl"
