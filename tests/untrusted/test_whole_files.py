import pytest

from dept_vl.untrusted.whole_files import check_writable, write_files_whole


def test_a_file_that_can_be_written_has_its_folder_made_and_nothing_else(tmp_path):
    check_writable(tmp_path / "a" / "b" / "table.md")
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "b"]


def test_what_cannot_be_written_is_named(tmp_path, monkeypatch):
    (file := tmp_path / "file").write_text("kept")
    for path in (file / "table.md", file / "folder" / "table.md"):
        with pytest.raises(NotADirectoryError, match="wanted a folder for table.md, given a file") as caught:
            check_writable(path)
        assert caught.value.filename == str(path.parent)
    with pytest.raises(IsADirectoryError, match="wanted a file to write, given a folder"):
        check_writable(tmp_path)

    def read_only(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    with pytest.raises(OSError, match=r"wanted a folder that can be written, for table.md"):
        check_writable(tmp_path / "table.md")
    assert file.read_text() == "kept"


def test_what_is_said_to_be_kept_is_there(tmp_path, monkeypatch):
    write_files_whole(tmp_path, {"a": b"old", "key": b"old"}, key="key")
    full = OSError(28, "No space left on device")
    with monkeypatch.context() as patched, pytest.raises(OSError, match="what was there before is kept"):
        patched.setattr("os.fsync", lambda file: (_ for _ in ()).throw(full))
        write_files_whole(tmp_path, {"a": b"new", "key": b"new"}, key="key")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old", "key": b"old"}
    (tmp_path / "a").unlink()
    (tmp_path / "a" / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match="what was there before has lost its key"):
        write_files_whole(tmp_path, {"a": b"new", "key": b"new"}, key="key")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
