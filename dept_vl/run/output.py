"""A file of JSON lines that is opened before the work and gets each line as it comes."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from dept_vl.untrusted.whole_files import make_folder

Write = Callable[[Mapping[str, Any]], None]


@contextlib.contextmanager
def json_lines(path: Path) -> Iterator[Write]:
    """What writes one object as a line, in UTF-8. What the file held goes when the first line comes, and no sooner.

    Raises: OSError at once where the file cannot be written; its folder is made.
    """
    make_folder(path)
    is_new = not path.exists()
    with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
        write = lines_to(file)
        begun = False

        def first_or_next(row: Mapping[str, Any]) -> None:
            nonlocal begun
            if not begun and path.is_file():  # a device or a pipe has no earlier lines
                file.truncate(0)
            begun = True
            write(row)

        try:
            yield first_or_next
        finally:
            if is_new and not begun:
                path.unlink()


def lines_to(file: TextIO) -> Write:
    """A name of a file may hold half a character, which `backslashreplace` then writes as JSON escapes it."""

    def write(row: Mapping[str, Any]) -> None:
        file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
        file.flush()  # a kill leaves what was done

    return write
