"""Recognise git-lfs pointers: the few lines of text that a clone holds in place of a file that was never fetched."""

from pathlib import Path

from dept_vl.untrusted.bad_file import BadFile

_START = b"version https://git-lfs.github.com/spec/v1"


def as_pointer(start: bytes) -> str | None:
    """What an error says was given where a file starts with these bytes; None when they are no pointer's."""
    if not start.startswith(_START):
        return None
    return "a git-lfs pointer, not the file: run `git lfs pull` in its clone, or download the file itself"


def pointer_at(path: Path | str) -> str | None:
    """As `as_pointer`, of the file at `path`; None too where there is no file that reads."""
    try:
        with open(path, "rb") as file:
            return as_pointer(file.read(len(_START)))
    except OSError:
        return None


def refuse_pointers(folder: Path, *forms: str) -> None:
    """Look at a folder's own files of these forms, as "*.json". A clone may hold pointers that nobody reads, to the
    same weights for another library, so name what is read. Raises: BadFile naming the first pointer."""
    for path in (path for form in forms for path in sorted(folder.glob(form))):
        if given := pointer_at(path):
            raise BadFile(path, "a file with its content", given)
