import pytest

from dept_vl.untrusted.whole_files import check_writable


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
